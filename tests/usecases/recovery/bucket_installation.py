"""An installation that backs up a bucket and recovers its objects."""

from pathlib import Path
from typing import Any

from standfast.usecases.backups.backup_run import run_backup
from tests.servers.seaweedfs import Bucket
from tests.usecases.backup_installation import furnish, identity, installation_at
from tests.usecases.installations import enrol_people
from tests.usecases.recovery.recovery_installation import PLAYBOOK

PREFIX = "calls/"
CALLS = {
    "calls/2026/1.wav": b"first call",
    "calls/2026/2.wav": b"second call",
    "calls/index.json": b"{}",
    f"calls/{'ü' * 150}": b"a name that is too long for a file",
}
NOTE = "calls/ransom-note.txt"
ENCRYPTED = b"encrypted"

_SETTINGS = """
[drills]
identity = "file:{identity}"

[playbooks]
folder = "playbooks"

[backup.sets.calls]

[[backup.sets.calls.sources]]
kind = "s3"
name = "objects"
bucket = "{bucket}"
prefix = "calls/"
endpoint_url = "{url}"
access_key_id = "file:source.id"
secret_access_key = "file:source.secret"

[backup.sets.calls.recovery.objects.s3]
bucket = "{target}"
prefix = "calls/"
endpoint_url = "{target_url}"
access_key_id = "file:recovery.id"
secret_access_key = "file:recovery.secret"
folder = "{folder}"
{more}

[services.crm]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 1560
sets = ["calls"]

[[services.crm.checks]]
kind = "command"
command = ["grep", "-q", "{check}", "objects/2026/1.wav"]
"""


def with_bucket(
    folder: Path,
    bucket: Bucket,
    more: str = "",
    *,
    check: str = "first",
    target: Bucket | None = None,
    url: str | None = None,
) -> Path:
    """Back up the calls of a bucket, and damage them; return the settings.

    The recovery goes to `target`, by default the same bucket, at the address `url`.
    """
    target = target or bucket
    client = bucket.client(bucket.admin)
    for key, body in CALLS.items():
        client.put_object(
            Bucket=bucket.name, Key=key, Body=body, ContentType="audio/wav", Metadata={"agent": "7"}
        )
    client.put_object(Bucket=bucket.name, Key="other/kept", Body=b"of another program")
    (folder / "spare").mkdir()
    settings = _SETTINGS.format(
        identity=identity(folder),
        bucket=bucket.name,
        url=bucket.server.url,
        target=target.name,
        target_url=url or bucket.server.url,
        folder=folder / "spare",
        more=more,
        check=check,
    )
    config_file = furnish(folder, settings)
    for role, key_pair in (("source", bucket.key("source")), ("recovery", target.key("recovery"))):
        for name, value in (("id", key_pair.access_key), ("secret", key_pair.secret_key)):
            (folder / f"{role}.{name}").write_text(value + "\n")
            (folder / f"{role}.{name}").chmod(0o600)
    (folder / "playbooks").mkdir()
    (folder / "playbooks" / "bring-back.yaml").write_text(PLAYBOOK)
    with installation_at(config_file) as installation:
        run_backup(installation, "calls", "direct")
        enrol_people(installation)
    damage(bucket)
    return config_file


def damage(bucket: Bucket) -> None:
    """Encrypt one call, delete another one, and add a note."""
    client = bucket.client(bucket.admin)
    client.put_object(Bucket=bucket.name, Key="calls/2026/1.wav", Body=ENCRYPTED)
    client.delete_object(Bucket=bucket.name, Key="calls/2026/2.wav")
    client.put_object(Bucket=bucket.name, Key=NOTE, Body=b"pay")


def objects(bucket: Bucket) -> dict[str, tuple[bytes, str, str]]:
    """Return content, content type and version of each current object."""
    client = bucket.client(bucket.admin)
    found = {}
    for row in client.list_objects_v2(Bucket=bucket.name).get("Contents", ()):
        answer = client.get_object(Bucket=bucket.name, Key=row["Key"])
        found[row["Key"]] = (answer["Body"].read(), answer["ContentType"], answer["VersionId"])
    return found


def contents(bucket: Bucket) -> dict[str, bytes]:
    """Return the content of each current object below the prefix."""
    return {key: found[0] for key, found in objects(bucket).items() if key.startswith(PREFIX)}


def version_count(bucket: Bucket) -> int:
    """Return the number of all versions and delete markers."""
    page: dict[str, Any] = bucket.client(bucket.admin).list_object_versions(Bucket=bucket.name)
    return len(page.get("Versions", ())) + len(page.get("DeleteMarkers", ()))


def remove_marker(bucket: Bucket, key: str) -> None:
    """Remove the newest delete marker of a key, as a person would."""
    client, place = bucket.client(bucket.admin), {"Bucket": bucket.name}
    (marker,) = client.list_object_versions(**place, Prefix=key)["DeleteMarkers"]
    client.delete_object(**place, Key=key, VersionId=marker["VersionId"])
