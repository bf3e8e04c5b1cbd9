"""Recovery card of this installation, with addresses and key copies.

The recovery card is a printed page with the fingerprints and steps that a restore needs.
"""

from pathlib import Path
from shlex import quote

from backup.ownership.key_copy_list import read_copy_list
from backup.ownership.recovery_card import Card, Places, make_card
from standfast.config.sections.backup import S3Config
from standfast.records import Json, JsonObject, timestamp
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.key_ceremonies.owner_operations import Stores, roster
from standfast.usecases.key_ceremonies.roster_document import custodian_json, roster_json


def recovery_card(stores: Stores) -> Card:
    """Create the card; it needs no key and contains no secret."""
    backup = stores.config.backup
    organisation = stores.config.organisation
    return make_card(
        roster(stores),
        Places(
            organisation=organisation.name,
            contact=organisation.contact_line,
            vault=_where(str(backup.vault), backup.s3),
            keys=str(backup.keys),
            key_copies=_key_copies(backup.keys),
            has_installation=backup.installation is not None,
            download="" if backup.s3 is None else _download(backup.s3),
            copies=tuple(
                (
                    name,
                    _where(str(site.vault), site.s3)
                    + (f"; keys: {site.keys}" if site.keys is not None else ""),
                )
                for name, site in backup.copies.items()
            ),
        ),
        stores.clock(),
    )


def card_json(card: Card) -> JsonObject:
    """Return the JSON form of the card."""
    custodians: list[Json] = [custodian_json(custodian) for custodian in card.roster.custodians]
    stores: list[Json] = [{"store": name, "where": where} for name, where in card.stores]
    steps: list[Json] = [{"what": step.instruction, "typed": step.command} for step in card.steps]
    return {
        "made": timestamp(card.made),
        "organisation": card.places.organisation,
        "stores": stores,
        "custodians": custodians,
        "break_glass_sha256": card.reader_sha256,
        "format_sha256": card.format_sha256,
        "steps": steps,
        "roster": roster_json(card.roster),
    }


def _key_copies(keys: Path) -> tuple[tuple[str, str], ...]:
    with translated_errors("reading the list of copies"):
        seen = read_copy_list(keys)
    return tuple(
        (copy.name, f"seen on {copy.seen:%Y-%m-%d}")
        for copy in seen.known
        if copy.name != seen.own_name  # the key store has its own line
    )


def _download(bucket: S3Config) -> str:
    """Return the commands that download a vault from its bucket."""
    settings = {"AWS_DEFAULT_REGION": bucket.region}
    if bucket.endpoint_url is not None:
        settings["AWS_ENDPOINT_URL"] = bucket.endpoint_url
    if bucket.ca_file is not None:
        settings["AWS_CA_BUNDLE"] = str(bucket.ca_file)
    lines = ["export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…"]
    lines += [f"export {name}={quote(value)}" for name, value in settings.items()]
    source = quote(f"s3://{bucket.bucket}/{bucket.prefix}")
    return "\n".join([*lines, f"glass/bin/python break_glass.py download {source} VAULT"])


def _where(folder: str, bucket: S3Config | None) -> str:
    if bucket is None:
        return folder
    site = bucket.endpoint_url or f"AWS {bucket.region}"
    return f"s3://{bucket.bucket}/{bucket.prefix} at {site}"
