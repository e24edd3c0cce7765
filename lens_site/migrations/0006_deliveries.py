from __future__ import annotations

from django.db import migrations

from access.grants import ADMIN, OPERATOR, grant


class Migration(migrations.Migration):
    dependencies = [("lens_site", "0005_notes"), ("notifications", "0001_initial")]

    operations = [
        grant((OPERATOR, ADMIN), "notifications.view_*", "notifications.resend"),
        grant((ADMIN,), "notifications.manage_endpoints"),
    ]
