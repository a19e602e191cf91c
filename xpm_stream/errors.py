"""The one error tree. A message says what is wrong, which thing it is, and what to do.

XpmStreamError
├── ConfigError                 a configuration that cannot be used
├── DataError                   input from outside that cannot be used
│   ├── ShardError              a shard that is missing, unreadable or not a tar
│   │   └── ShardUnavailable    its store does not give it now (transient: waiting may help)
│   ├── ImageGone               an image that is not where its label says any more
│   ├── SampleError             one sample of a shard (carries a short, bounded `reason`)
│   └── BaseSetError            a mask-annotated base set
├── TextError                   lexicon, vocabulary or text encoder
├── QueueError
│   ├── QueueUnavailable        Redis is not there (transient: waiting may help)
│   ├── QueueRefused            Redis answers but refuses (out of memory, read-only, no permission)
│   ├── LeaseLost               another labeler owns the shard now; drop the batch
│   ├── EpochFenced             a newer trainer has started; stop
│   └── MessageError            a label message that cannot be decoded
│       └── SchemaTooNew        written by a newer release; stop and update
├── RegistryError
│   ├── RegistryUnavailable     its store is not there (transient: waiting may help)
│   ├── CheckpointError         missing, torn, altered, or of another architecture
│   └── PromotionConflict       another promoter wrote this version first
├── TrainingError               a loss that failed or is not finite
└── StallError                  no progress for longer than configured
"""


class XpmStreamError(Exception):
    """Root of every error this package raises on purpose."""


class ConfigError(XpmStreamError, ValueError):
    """A configuration that cannot be used."""


class DataError(XpmStreamError, ValueError):
    """Input from outside that cannot be used."""


class ShardError(DataError):
    """A shard that is missing, unreadable or not a tar."""


class ShardUnavailable(ShardError):
    """A shard that its store does not give now; waiting may help."""


class ImageGone(DataError):
    """An image that is not where its label says any more."""


class SampleError(DataError):
    """One sample that cannot be used.

    `reason` is a short snake_case word from a bounded set (it becomes a metric label);
    the message says the rest.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class BaseSetError(DataError):
    """A mask-annotated base set that cannot be used."""


class TextError(XpmStreamError):
    """Lexicon, vocabulary or text encoder cannot be used."""


class QueueError(XpmStreamError):
    """The label queue cannot do what was asked."""


class QueueUnavailable(QueueError):
    """Redis cannot be reached; waiting may help."""


class QueueRefused(QueueError):
    """Redis answers but refuses: out of memory, read-only, or not permitted."""


class LeaseLost(QueueError):
    """Another labeler owns the shard now: the batch must be dropped, not written."""


class EpochFenced(QueueError):
    """A newer trainer has started: this one must stop without acknowledging."""


class MessageError(QueueError):
    """A label message that cannot be decoded."""


class SchemaTooNew(MessageError):
    """A label message of a newer release: nothing is wrong with it, this program must be updated."""


class RegistryError(XpmStreamError):
    """The registry cannot do what was asked."""


class RegistryUnavailable(RegistryError):
    """The store of the registry cannot be reached; waiting may help."""


class CheckpointError(RegistryError):
    """A checkpoint that is missing, torn, altered, or of another architecture."""


class PromotionConflict(RegistryError):
    """Another promoter wrote this version first."""


class TrainingError(XpmStreamError):
    """A loss that failed or is not finite."""


class StallError(XpmStreamError):
    """A role made no progress for longer than configured."""
