"""A roster as a document, for `--json` and whoever reads it."""

from backup.ownership.custodian_public_key import Custodian
from backup.ownership.roster import Roster
from standfast.records import Json, JsonObject, timestamp


def roster_json(roster: Roster) -> JsonObject:
    """Everything that is public in a repository's records."""
    writers: list[Json] = [
        {
            "writer": one.id,
            "epoch": one.epoch,
            "key": one.key.hex(),
            "domains": list(one.domains),
            "trusted_through": one.trusted_through,
            "newest": None
            if one.newest is None
            else {
                "point": f"{one.id}/{one.newest.sequence:010d}",
                "set": one.newest.set_name,
                "time": timestamp(one.newest.time),
            },
        }
        for one in roster.writers
    ]
    domains: list[Json] = [
        {
            "domain": one.id,
            "erased_at": None if one.erased is None else timestamp(one.erased),
            "generations": [
                {
                    "generation": generation.number,
                    "recipient": generation.recipient,
                    "custodians": [custodian_json(each) for each in generation.custodians],
                }
                for generation in one.generations
            ],
        }
        for one in roster.domains
    ]
    keepers: list[Json] = [
        {"key": one.key.hex(), "trusted_through": one.trusted_through} for one in roster.keepers
    ]
    return {
        "repository": roster.repository.hex(),
        "owner": roster.owner.hex(),
        "created": timestamp(roster.created),
        "root": roster.root_number,
        "root_created": timestamp(roster.root_created),
        "writers": writers,
        "domains": domains,
        "keepers": keepers,
        "keep_record": roster.keep_number,
        "documents": list(roster.documents),
        "lacks_documents": roster.lacks_documents,
        "problems": list(roster.problems),
    }


def custodian_json(one: Custodian) -> JsonObject:
    """A custodian's name and public key."""
    return {"name": one.name, "recipient": one.recipient, "fingerprint": one.fingerprint}
