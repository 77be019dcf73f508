-- Runs once, as the superuser, when the volume of Postgres is created. The engine's role owns its database and no more:
-- it can't read files, run programs or change other roles.
\set password `cat /run/secrets/postgres_password`
create role energy login password :'password';
create database energy owner energy;
-- The superuser can then log in within the container only: docker compose exec postgres psql --username=postgres
alter role postgres password null;
