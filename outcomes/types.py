"""Values of the outcomes room: how questions end, and where statistics belong."""

from __future__ import annotations

from django.db.models import TextChoices

SIGNAL = ""
"""The model of a question that is the signal's own, whatever anybody made of it."""

DEFINITION = 1
"""The version of what counts as won; two definitions never meet in one statistic.

1: an entry is won when its target is reached before its stop, within the horizon, and what
remains after costs is above 0; an exit is won when holding on would have lost before costs.
"""

CANARY, BIAS, EXPERIMENT = ALERT_KINDS = ("CANARY", "BIAS", "EXPERIMENT")
"""What alerts are about: a model that drifted, a biased one, an experiment that is decided."""

SCOPE_CHARS = 43
"""How long the name of a scope may be; see ``decisions.types.scope_of``."""


ALL = "*"
"""In a day's sums: of all prompts, sources, symbols and regimes of a model together."""

DIVIDING = frozenset({"prompt_version", "source", "symbol", "regime"})
"""What divides a day; the sums of the whole day have ``ALL`` there, those by one all others."""

WHOLE_DAY = dict.fromkeys(sorted(DIVIDING), ALL)
"""What the sums of a whole day hold in place of what divides it."""


class EntryRule(TextChoices):
    """How a question's position is entered."""

    MARKET = "MARKET"
    TOUCH = "TOUCH"


class LevelBasis(TextChoices):
    """Where a question's target and stop come from.

    ``SIGNAL`` carries them itself; ``ATR`` are set from the frozen facts; ``PLAN`` from a model's
    risk plan; ``CANDLES`` from candles that had closed when the question was asked, because no
    facts were frozen.
    """

    SIGNAL = "SIGNAL"
    ATR = "ATR"
    PLAN = "PLAN"
    CANDLES = "CANDLES"


class OutcomeStatus(TextChoices):
    """Where a question stands."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"
    UNRESOLVABLE = "UNRESOLVABLE"


class Resolution(TextChoices):
    """How the market answered."""

    TARGET = "TARGET"
    STOP = "STOP"
    EXPIRED = "EXPIRED"
    NOT_FILLED = "NOT_FILLED"


class ExperimentKind(TextChoices):
    """What challenges what: another version of the prompt, or another model."""

    PROMPT = "PROMPT"
    MODEL = "MODEL"


class ExperimentStatus(TextChoices):
    """Where an experiment stands."""

    RUNNING = "RUNNING"
    PROMOTED = "PROMOTED"
    STOPPED = "STOPPED"


class CanaryStatus(TextChoices):
    """What the golden signals said of a model on one day; ``ACCEPTED`` is a drift that may stay."""

    ASKED = "ASKED"
    STEADY = "STEADY"
    DRIFTED = "DRIFTED"
    ACCEPTED = "ACCEPTED"


class AuditStatus(TextChoices):
    """Where a bias audit stands."""

    ASKED = "ASKED"
    DONE = "DONE"
