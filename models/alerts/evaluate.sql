-- Applies the verdicts of a rule to the alerts that exist, then opens new ones; an acknowledgement stays. If more than
-- `max_opened` would open, their devices become members of the kind's group instead (models/alerts/groups.py). The rows
-- are the alerts that were opened or resolved. `rule` is the statement of a rule (models/alerts/rules.py), `columns` are
-- those of an alert. Index: alerts_unresolved.
\set kind implausible
\set max_opened 100
\set now 2026-02-10T12:00:00Z
\set rule 'select device_kind, device_id, ''near'' as verdict, value, bound, detail from alerts'
\set columns 'id, kind, state'
with
judged as materialized (:rule),
changed as (
  update alerts as a
  set state = case when j.verdict = 'good' then 'resolved' else a.state end,
      resolved_at = case when j.verdict = 'good' then :'now'::timestamptz end,
      last_seen_at = case when j.verdict = 'good' then a.last_seen_at else :'now'::timestamptz end,
      value = j.value, bound = j.bound, detail = j.detail
  from judged as j
  where a.kind = :'kind' and a.state <> 'resolved' and (a.device_kind, a.device_id) = (j.device_kind, j.device_id)
  returning a.*
),
left_group as (
  delete from alert_group_members as member using judged as j
  where member.kind = :'kind' and (member.device_kind, member.device_id) = (j.device_kind, j.device_id)
    and j.verdict = 'good'
),
candidate as materialized (
  select j.* from judged as j
  where verdict = 'bad'
    and not exists (
      select from alerts as a
      where a.kind = :'kind' and a.state <> 'resolved' and (a.device_kind, a.device_id) = (j.device_kind, j.device_id))
    and not exists (
      select from alert_group_members as member
      where member.kind = :'kind' and (member.device_kind, member.device_id) = (j.device_kind, j.device_id))
),
grouped as (
  insert into alert_group_members (kind, device_kind, device_id)
  select :'kind', device_kind, device_id from candidate
  where (select count(*) from candidate) > :'max_opened'
  on conflict do nothing
),
opened as (
  insert into alerts (device_kind, device_id, kind, value, bound, detail, opened_at, last_seen_at)
  select device_kind, device_id, :'kind', value, bound, detail, :'now'::timestamptz, :'now'::timestamptz
  from candidate
  where (select count(*) from candidate) <= :'max_opened'
  order by device_kind, device_id
  on conflict (device_kind, device_id, kind) where state <> 'resolved' do nothing
  returning *
)
select :columns from opened union all select :columns from changed where state = 'resolved' order by id;
