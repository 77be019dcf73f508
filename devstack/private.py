"""Secrets and data that no other user of this machine can read."""

import os
import pwd
import secrets
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from devstack import StackError

SERVER_USER = "pgserver"  # Postgres refuses to run as root, and Redis should not


PRIVATE = 0o077  # the umask of all processes


def make_home(home: Path) -> None:
    """The folder of a stack, which no other user can read."""
    is_ours = not home.exists() or (home / "lock").exists()
    for folder in (home, home / "log", home / "run"):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (home / "log", home / "run"):
        folder.chmod(0o700)
    if is_ours:
        home.chmod(0o700)


def new_password() -> str:
    return secrets.token_hex(24)


def read_or_create_secret(file: Path, create: Callable[[], str] = new_password) -> str:
    """The text in the file, which its owner alone can read; created at the first call."""
    if not file.exists():
        unfinished = file.with_name(f"{file.name}.new")
        write_for(None, unfinished, create())
        unfinished.rename(file)
    return file.read_text().strip()


def server_user() -> str | None:
    """The system user of the embedded servers if this is root; it is created if missing. Else None: the current one."""
    if os.geteuid():
        return None
    try:
        pwd.getpwnam(SERVER_USER)
    except KeyError:
        command = ["useradd", "--system", "--shell", "/bin/sh", SERVER_USER]
        try:
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (a fixed command)
        except (OSError, subprocess.CalledProcessError) as error:
            raise StackError(f"the system user {SERVER_USER} cannot be created: {error}") from None
    return SERVER_USER


def hand_over(folder: Path, user: str | None) -> None:
    """Makes a data folder that the user alone can enter; also an existing one, and files that root copied into it."""
    folder.mkdir(exist_ok=True)
    owner = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    if user:
        _open(folder.absolute().parents, 0o001)
    # Root follows no link in a folder in which that user may have made one.
    is_trusted = not user or folder.stat().st_uid != owner.pw_uid
    for path in (*folder.rglob("*"), folder):
        found = path.lstat()
        if is_trusted and not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
        if found.st_uid != owner.pw_uid and (path.is_dir() or found.st_nlink == 1):
            os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def write_for(user: str | None, file: Path, text: str) -> None:
    """Writes a file that the user can read and not change."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
        if user:
            os.fchown(opened.fileno(), 0, pwd.getpwnam(user).pw_gid)
            os.fchmod(opened.fileno(), 0o640)


def share_program(folder: Path) -> None:
    """Lets other users run the programs in the folder, which root may have installed for itself alone."""
    if os.geteuid() == 0:
        _open(folder.absolute().parents, 0o001)
        _open((folder, *folder.rglob("*")), 0o005)


def _open(paths: Iterable[Path], mode: int) -> None:
    for path in paths:
        found = path.stat().st_mode
        wanted = mode if path.is_dir() or found & 0o100 else mode & 0o004
        if found & wanted != wanted:
            path.chmod(found & 0o7777 | wanted)
