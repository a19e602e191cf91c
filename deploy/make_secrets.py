"""Passwords for a Redis with our users, and for Grafana: files for Docker's and Kubernetes' secrets.

    python deploy/make_secrets.py FOLDER [--namespace xpm] [--redis redis:6379]

Writes users.acl (deploy/redis/users.acl with a random password for each user, and without comments, which Redis does
not read), the password.conf that redis.conf includes, redis_url_USER for the users that `redis.url: file:///PATH`
names, redis_password_USER for those without a URL, and grafana_admin_password. A folder that exists is refused: the
passwords in it may be in use.
"""

from __future__ import annotations

import argparse
import re
import secrets
from pathlib import Path

ACL_FILE = Path(__file__).parent / "redis" / "users.acl"
WITHOUT_URL = ("admin", "scaler")  # people with redis-cli; KEDA and health checks


def make_secrets(folder: Path, *, namespace: str, redis: str) -> None:
    """Write the files. Only the owner may enter the folder, but all may read its files: a container's user does."""
    folder.mkdir(mode=0o700, parents=True)
    lines = [line for line in ACL_FILE.read_text(encoding="utf-8").splitlines() if line.startswith("user ")]
    acl = "\n".join(lines).replace("{xpm}", f"{{{namespace}}}") + "\n"
    for user in re.findall(r">CHANGE-ME-(\w+)", acl):
        password = secrets.token_hex(24)
        acl = acl.replace(f">CHANGE-ME-{user} ", f">{password} ")
        if user in WITHOUT_URL:
            _write(folder / f"redis_password_{user}", password)
        else:
            _write(folder / f"redis_url_{user}", f"redis://{user}:{password}@{redis}/0")
    _write(folder / "users.acl", acl)
    _write(folder / "password.conf", "# redis.conf asks for this file. Users and their passwords are in users.acl.\n")
    _write(folder / "grafana_admin_password", secrets.token_hex(24))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o444)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to write them: outside of the repository")
    parser.add_argument("--namespace", default="xpm", help="redis.namespace of the run")
    parser.add_argument("--redis", default="redis:6379", metavar="HOST:PORT", help="where roles find Redis")
    asked = parser.parse_args()
    try:
        make_secrets(asked.folder, namespace=asked.namespace, redis=asked.redis)
    except FileExistsError:
        parser.error(f"{asked.folder} exists: its passwords may be in use; name a new folder")
