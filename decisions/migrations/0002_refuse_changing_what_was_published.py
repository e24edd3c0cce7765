from __future__ import annotations

from django.db import migrations

from pipeline.triggers import refuse


class Migration(migrations.Migration):
    dependencies = [("decisions", "0001_initial")]

    operations = [
        refuse(
            name="published_decision_guard",
            table="decisions_decision",
            event="UPDATE",
            when="(OLD.published_at IS NOT NULL)",
            message="a published decision is never changed",
        )
    ]
