from __future__ import annotations

from django.db import migrations

from pipeline.triggers import refuse

SETTLED = "(SELECT COALESCE(MAX(settled_id), 0) FROM pipeline_chain)"
REMOVING = "(SELECT COALESCE(MAX(removing_upto), 0) FROM pipeline_chain)"
TRIMMED = "(SELECT COALESCE(MAX(trimmed_number), 0) FROM pipeline_chain)"


class Migration(migrations.Migration):
    dependencies = [("pipeline", "0006_seals_and_purges")]

    operations = [
        refuse(
            name="sealed_line_guard",
            table="pipeline_auditevent",
            event="DELETE",
            when=f"(OLD.id <= {SETTLED} AND OLD.id > {REMOVING})",
            message="a sealed line is only ever removed by a purge",
            looks=True,
        ),
        refuse(
            name="seal_change_guard",
            table="pipeline_seal",
            event="UPDATE",
            when="(OLD.number IS NOT NULL)",
            message="a seal is never changed",
        ),
        refuse(
            name="seal_removal_guard",
            table="pipeline_seal",
            event="DELETE",
            when=f"(OLD.number > {TRIMMED})",
            message="a seal is only ever removed by a purge",
            looks=True,
        ),
    ]
