from __future__ import annotations

from django.db import migrations

from pipeline.triggers import refuse


class Migration(migrations.Migration):
    dependencies = [("pipeline", "0001_initial")]

    operations = [
        refuse(
            name="audit_event_guard",
            table="pipeline_auditevent",
            event="UPDATE",
            when="(OLD.id IS NOT NULL)",
            message="the trail is only ever added to",
        )
    ]
