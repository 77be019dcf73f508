"""The increment: the energy that one reading adds. Every sum of energy is a sum of increments, made here.

A device's instants are its readings, each `recorded_at` once: the last accepted (`received_at`) stands for it.

- `interval`: the energy of an instant is its value.
- `cumulative`: it is the increase since the instant before. No instant before: 0. A value below RESET_SHARE of the
  one before: the register began anew, the value itself. Else the difference, so that a dip takes back what the
  next reading adds again.
- An energy that is more than `rated_power_kw` allows for the time since the instant before is implausible: it counts
  0. For interval devices that time is at least the heartbeat. Without an instant before nothing is judged.

An increment belongs to its own `recorded_at`, so the energies of adjoining windows add up to the whole. The instant
before may lie before the window; nothing else of before the window counts.

What follows is SQL, for a FROM clause or a subquery. `device`, `starts` and `ends` are SQL expressions: parameters,
or columns of what stands before a `cross join lateral`. A reading counts at or after all `starts` and before all
`ends`; give the window as a parameter among them, so that the planner prunes the days outside it, and beside it what
is known of each row only:

    select sum(kwh) from {increments(METER, "%(meter_id)s", ["%(start)s"], ["%(end)s"])} as increment
    ... from span cross join lateral
        {increments(METER, "span.meter_id", ["%(start)s", "span.start"], ["%(end)s", "span.end"])} as increment
"""

from collections.abc import Sequence

from models.readings import Kind

RESET_SHARE = 0.9  # of the value before; a register that shows less was reset
ROUNDING_KWH = 1e-6  # above what the rated power allows

# A row of `devices` whose energy is not simply the sum of its values.
NOT_PLAIN = "(register = 'cumulative' or rated_power_kw is not null)"


def instants(
    kind: Kind,
    device: str,
    starts: Sequence[str],
    ends: Sequence[str],
    columns: Sequence[str] = (),
    more: str = "",
    oldest_first: bool = False,
) -> str:
    """SQL: (recorded_at, value, *columns) of each instant, newest first or oldest. By {kind}_readings_history_covering.

    Index-only unless `columns` names what the index doesn't hold: it has the energies, and battery_temp. `value` is
    what the register showed: the energy of plain devices only, see NOT_PLAIN. `more` is one more condition.
    """
    bounds = [f"recorded_at >= {start}" for start in starts] + [f"recorded_at < {end}" for end in ends]
    return f"""(
      select distinct on (recorded_at) {", ".join(["recorded_at", f"{kind.value_columns[0]} as value", *columns])}
      from {kind.history}
      where {" and ".join([f"{kind.device_column} = {device}", *bounds, *filter(None, [more])])}
      order by recorded_at{"" if oldest_first else " desc"}, received_at desc
    )"""


def increments(kind: Kind, device: str, starts: Sequence[str], ends: Sequence[str], columns: Sequence[str] = ()) -> str:
    """SQL: (recorded_at, kwh, implausible, *columns) of each instant, in no order; kwh is its increment.

    Needs the parameter %(heartbeat_seconds)s, the settings' heartbeat, for devices without one of their own.
    A plain device costs what its instants cost: whatever its register needs is not even looked at.
    """
    named = "".join(f", {column}" for column in columns)
    start = starts[0] if len(starts) == 1 else f"greatest({', '.join(starts)})"
    return f"""(
    select increment.recorded_at, increment.kwh, increment.implausible{named}
    from (
      select coalesce(register = 'cumulative', false) as cumulative, rated_power_kw,
             coalesce({NOT_PLAIN}, false) as judged,
             coalesce(heartbeat_seconds, %(heartbeat_seconds)s) / 3600.0 as heartbeat_hours
      from (select) as nothing left join devices on devices.kind = '{kind.name}' and devices.device_id = {device}
    ) as device
    left join lateral (
      select recorded_at, {kind.value_columns[0]} as value from {kind.history}
      where device.judged and {kind.device_column} = {device} and recorded_at < {start}
        and {" and ".join(f"recorded_at < {end}" for end in ends)}
      order by recorded_at desc, received_at desc limit 1
    ) as before on true
    cross join lateral (
      select recorded_at, value as kwh, false as implausible{named}
      from {instants(kind, device, starts, ends, columns, more="not device.judged")} as instant
      union all
      select recorded_at, case when implausible then 0 else energy end, implausible{named}
      from (
        select *, coalesce(energy > device.rated_power_kw * hours + {ROUNDING_KWH}, false) as implausible
        from (
          select *,
            case when not device.cumulative then value
                 when value_before is null then 0
                 when value < {RESET_SHARE} * value_before then value
                 else value - value_before end as energy,
            case when at_before is not null then greatest(
              extract(epoch from recorded_at - at_before)::float8 / 3600,
              case when not device.cumulative then device.heartbeat_hours end) end as hours
          from (
            select *, coalesce(lead(value) over newer_first, before.value) as value_before,
                   coalesce(lead(recorded_at) over newer_first, before.recorded_at) as at_before
            from {instants(kind, device, starts, ends, columns, more="device.judged")} as instant
            window newer_first as (order by instant.recorded_at desc)
          ) as pair
        ) as step
      ) as judgement
    ) as increment
    )"""
