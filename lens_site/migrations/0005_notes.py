from __future__ import annotations

from django.db import migrations

from access.grants import ADMIN, EVERYBODY, OPERATOR, TRADER, grant


class Migration(migrations.Migration):
    dependencies = [("lens_site", "0004_trials"), ("signals", "0008_notes_and_mutes")]

    operations = [
        grant(EVERYBODY, "signals.view_note", "signals.view_mute"),
        grant((TRADER, OPERATOR, ADMIN), "signals.add_note", "signals.add_mute"),
        grant((OPERATOR, ADMIN), "signals.mute_desk"),
    ]
