from standfast.playbook.rendering.plain_text import as_text
from tests.playbook.build import playbook_of


def test_printed_playbook_is_sufficient_for_a_person() -> None:
    playbook = playbook_of(
        """
        tell:
          title: Tell the customers
          needs: [ask]
          when: answers.ask == "yes"
          do: notices.send
          with: {template: t, audience: customers}
          approval: {count: 2, roles: [legal, duty-manager], reason: It is final.}
        ask: {title: Ask, needs: [lock], decide: "Who else?", options: ["yes", "no"]}
        lock:
          title: Lock them
          do: accounts.lock
          with: {accounts: "{{ inputs.accounts }}"}
        rest: {title: Rest, needs: [tell, lock], wait: 90m}
        look:
          title: Look around
          roles: [legal]
          manual: |
            First paragraph,
            still the first.
            - An item
              of two lines.
            - Another item.
        """
    )
    text = as_text(playbook)
    assert [line for line in text.splitlines() if "[" in line and line.strip()[0].isdigit()] == [
        "  1. Lock them [lock]",
        "  2. Ask [ask]",
        "  3. Tell the customers [tell]",
        "  4. Rest [rest]",
        "  5. Look around [look]",
    ]
    for told in (
        "Small (small, version 1)",
        "Use it when: Never.",
        "accounts: accounts, required.",
        "reason: text, default: seen by hand.",
        "With accounts: the input accounts",
        "Undone by: accounts.unlock.",
        "Decide: Who else? (yes / no)",
        "After step 2. Only if the answer to ask is “yes”.",
        "CANNOT BE UNDONE.",
        "After steps 1, 3.",
        "Wait 90 minutes.",
        "By hand (legal):",
        "     First paragraph, still the first.\n     - An item of two lines.\n     - Another",
        playbook.digest,
    ):
        assert told in text
    unwrapped = " ".join(text.split())
    assert "Needs the approval of 2 other people with the role legal or duty-manager." in unwrapped
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text == as_text(playbook)
