from __future__ import annotations

from django.db import migrations

from access.grants import ADMIN, OPERATOR, TRADER, grant


class Migration(migrations.Migration):
    dependencies = [("lens_site", "0001_groups"), ("signals", "0004_webhooks")]

    operations = [
        grant((TRADER, OPERATOR, ADMIN), "signals.view_hook"),
        grant((OPERATOR, ADMIN), "signals.view_hookrefusal"),
        grant((ADMIN,), "signals.manage_hooks"),
    ]
