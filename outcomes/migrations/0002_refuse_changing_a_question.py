from __future__ import annotations

from django.db import migrations

from pipeline.triggers import refuse


class Migration(migrations.Migration):
    dependencies = [("outcomes", "0001_initial")]

    operations = [
        refuse(
            name="fixed_question_guard",
            table="outcomes_question",
            event="UPDATE",
            when="(OLD.sha256 <> '')",
            message="a question is never changed once it is fixed",
        )
    ]
