"""What the lake can answer instead of success."""


class LakeError(Exception):
    """Base of the package's errors."""


class CommitConflict(LakeError):
    """The catalog refused: the table is not what the change was made for."""


class CommitUnknown(LakeError):
    """No answer, or one that does not say whether the change landed. Load the table to know."""


class CatalogUnavailable(LakeError):
    """The catalog or the object store cannot be reached; nothing was changed."""


class TableMissing(LakeError):
    """The table is not in the catalog."""


class CheckpointInvalid(LakeError):
    """Properties or a summary that do not hold what the contract says."""


class StateMissing(LakeError):
    """A state file that should be there cannot be read."""
