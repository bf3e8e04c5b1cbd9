"""JSON form of the roster: writers, domains, custodians and keepers.

The roster lists the people and machines with keys. A writer is a backup host, a domain is a group
of backup sets that share one key, a custodian can decrypt backups, and a keeper may expire them.
"""

from backup.ownership.custodian_public_key import Custodian
from backup.ownership.roster import Roster
from standfast.records import Json, JsonObject, timestamp


def roster_json(roster: Roster) -> JsonObject:
    """Return the JSON form of a roster; all of it is public."""
    writers: list[Json] = [
        {
            "writer": writer.id,
            "epoch": writer.epoch,
            "key": writer.key.hex(),
            "domains": list(writer.domains),
            "trusted_through": writer.trusted_through,
            "newest": None
            if writer.newest is None
            else {
                "point": f"{writer.id}/{writer.newest.sequence:010d}",
                "set": writer.newest.set_name,
                "time": timestamp(writer.newest.time),
            },
        }
        for writer in roster.writers
    ]
    domains: list[Json] = [
        {
            "domain": domain.id,
            "erased_at": None if domain.erased is None else timestamp(domain.erased),
            "generations": [
                {
                    "generation": generation.number,
                    "recipient": generation.recipient,
                    "custodians": [
                        custodian_json(custodian) for custodian in generation.custodians
                    ],
                }
                for generation in domain.generations
            ],
        }
        for domain in roster.domains
    ]
    keepers: list[Json] = [
        {"key": keeper.key.hex(), "trusted_through": keeper.trusted_through}
        for keeper in roster.keepers
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


def custodian_json(custodian: Custodian) -> JsonObject:
    """Return the name and public keys of a custodian."""
    return {
        "name": custodian.name,
        "recipient": custodian.recipient,
        "fingerprint": custodian.fingerprint,
    }
