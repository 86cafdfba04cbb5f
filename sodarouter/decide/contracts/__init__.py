"""What a new version of a contract does to the one before. Soda sends a contract whole, and does not say what changed."""

from sodarouter.decide.contracts.classes import CLASSES, Changes, ContractClass

__all__ = ["CLASSES", "Changes", "ContractClass", "classify"]


def classify(before: str | None, after: str | None) -> Changes:
    """What changed from one version of a contract to the next. Every text has an answer, and the same one each time.

    Args:
        before: The version before, as Soda sent it; ``None`` if none is known.
        after: The version now; ``None`` if the event had none.
    """
    if after is None:
        return Changes(frozenset({"unreadable"}), ("the contract is missing",))
    if before == after:
        return Changes(frozenset({"same"}))
    # imported only here: most routers never see a contract
    from sodarouter.decide.contracts.compare import compare

    return compare(before, after)
