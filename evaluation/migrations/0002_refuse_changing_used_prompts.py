from __future__ import annotations

from django.db import migrations

from pipeline.triggers import refuse

TEXTS = ("name", "version", "system", "user", "sha256")
CHANGES = (
    *(f'NEW."{column}" <> OLD."{column}"' for column in TEXTS),
    "NEW.used_at IS NULL",
    "NEW.used_at <> OLD.used_at",
)


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0001_initial")]

    operations = [
        refuse(
            name="used_prompt_guard",
            table="evaluation_promptversion",
            event="UPDATE",
            when=f"(OLD.used_at IS NOT NULL AND ({' OR '.join(CHANGES)}))",
            message="a prompt that a model was given is never changed",
        )
    ]
