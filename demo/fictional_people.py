"""Fictional agents and customers of the contact centre, from a seed.

Rules
- Mail addresses are in example domains (RFC 2606): no real person can ever be written to.
- Names are of several languages and alphabets, because such names break software.
"""

import random
from dataclasses import dataclass

LANGUAGES = {
    "en": (
        ("Alice", "Ben", "Chloe", "Daniel", "Emily", "Frank", "Grace", "Harry", "Isla", "Jack"),
        ("Archer", "Brooks", "Carter", "Dixon", "O'Neill", "Foster", "Hughes", "Lowe", "Marsh"),
    ),
    "es": (
        ("Ana", "Íñigo", "Lucía", "Mateo", "Noelia", "Óscar", "Pilar", "Raúl", "Sofía", "Tomás"),
        ("García", "Núñez", "Peña", "Ibáñez", "López Vega", "Muñoz", "Ortiz", "Ramírez", "Sáez"),
    ),
    "fr": (
        ("Aïcha", "Benoît", "Chloé", "Émile", "Françoise", "Gaël", "Hélène", "Jérôme", "Zoé"),
        ("Besançon", "Lefèvre", "D'Almeida", "Müller", "Noël", "Pascal", "Rousseau", "Vallée"),
    ),
    "de": (
        ("Anke", "Björn", "Cäcilie", "Dörte", "Felix", "Günther", "Jürgen", "Käthe", "Sönke"),
        ("Böhm", "Fuß", "Groß", "Jäger", "Köhler", "Müller-Lüdenscheidt", "Schäfer", "Weiß"),
    ),
    # No notice has these languages: it falls back to the first language of the organisation.
    "pl": (("Łukasz", "Małgorzata", "Żaneta", "Jędrzej"), ("Wiśniewska", "Kowalczyk", "Żak")),
    "el": (("Ελένη", "Γιώργος", "Μαρία"), ("Παπαδοπούλου", "Νικολάου")),
}
_WEIGHTS = (50, 18, 12, 14, 4, 2)
_DOMAINS = ("example.net", "example.org", "mail.example.com")
_AGENT_NAMES = ("en", "es", "fr", "de")


@dataclass(frozen=True, kw_only=True)
class Customer:
    """One row of the customer database."""

    number: int
    name: str
    address: str
    language: str
    phone: str


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One employee with an account."""

    account: str
    name: str
    address: str
    language: str


def customers(count: int, seed: int) -> list[Customer]:
    """Return customers, each with an address of their own."""
    dice = random.Random(seed)
    made = []
    for number in range(1, count + 1):
        (language,) = dice.choices(list(LANGUAGES), weights=_WEIGHTS)
        first, last = (dice.choice(names) for names in LANGUAGES[language])
        made.append(
            Customer(
                number=number,
                name=f"{first} {last}",
                address=f"customer.{number:05}@{dice.choice(_DOMAINS)}",
                language=language,
                phone=f"+44 20 7946 {dice.randrange(1000):04}",  # reserved for fiction by Ofcom
            )
        )
    return made


def agents(count: int, seed: int) -> list[Agent]:
    """Return agents, each with an account of their own."""
    dice = random.Random(seed + 1)
    made: dict[str, Agent] = {}
    while len(made) < count:
        language = dice.choice(_AGENT_NAMES)
        first, last = (dice.choice(names) for names in LANGUAGES[language])
        account = f"{_ascii(first)}.{_ascii(last)}"
        made.setdefault(
            account,
            Agent(
                account=account,
                name=f"{first} {last}",
                address=f"{account}@staff.example.com",
                language=language,
            ),
        )
    return list(made.values())


def _ascii(name: str) -> str:
    """Return a name in the form that account directories prefer."""
    spelled = "".join(_SPELLED.get(letter, letter) for letter in name.lower())
    return "".join(letter for letter in spelled if letter.isalpha() or letter == "-")


_SPELLED = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ñ": "n", "ç": "c"} | dict(
    zip("áàâéèêëíîïóôúû", "aaaeeeeiiioouu", strict=True)
)
