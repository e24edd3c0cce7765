"""Index only what was judged again.

Nearly every evaluation is of no rerun. SQLite, which guesses that few rows have any one value,
preferred the index of all of them, and so read every evaluation to find those of a few signals.
The old index is dropped by its name: altering the column would have SQLite copy the table.
"""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

OLD = '"evaluation_evaluation_rerun_id_32245a9f"'


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0007_variations")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="evaluation",
                    name="rerun",
                    field=models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        to="evaluation.rerun",
                    ),
                )
            ],
            database_operations=[
                migrations.RunSQL(
                    f"DROP INDEX IF EXISTS {OLD}",
                    f'CREATE INDEX {OLD} ON "evaluation_evaluation" ("rerun_id")',
                )
            ],
        ),
        migrations.AddIndex(
            model_name="evaluation",
            index=models.Index(
                condition=models.Q(("rerun__isnull", False)),
                fields=["rerun"],
                name="evaluation_by_rerun",
            ),
        ),
    ]
