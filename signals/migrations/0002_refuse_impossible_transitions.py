from __future__ import annotations

from django.db import migrations

from pipeline.triggers import refuse

ALLOWED = {
    "ENQUEUED": ("ENRICHED", "REJECTED", "EXPIRED", "CANCELLED", "DEAD"),
    "ENRICHED": ("EVALUATED", "PUBLISHED", "EXPIRED", "CANCELLED", "DEAD"),
    "EVALUATED": ("PUBLISHED", "EXPIRED", "CANCELLED"),
    "PUBLISHED": ("ENQUEUED", "ENRICHED"),
    "REJECTED": ("ENQUEUED",),
    "EXPIRED": ("ENQUEUED", "ENRICHED"),
    "DEAD": ("ENQUEUED", "ENRICHED"),
}
PAIRS = " OR ".join(
    f"(OLD.status = '{old}' AND NEW.status IN ({', '.join(repr(new) for new in news)}))"
    for old, news in ALLOWED.items()
)


class Migration(migrations.Migration):
    dependencies = [("signals", "0001_initial")]

    operations = [
        refuse(
            name="signal_transition_guard",
            table="signals_signal",
            event="UPDATE",
            when=f"(OLD.status <> NEW.status AND NOT ({PAIRS}))",
            message="a signal cannot go from that status to that one",
        )
    ]
