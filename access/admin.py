"""The back office of the access room: API keys, and the people who sign in."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.safestring import SafeString

from access import queries, services
from access.models import ApiKey, User
from access.parsing import network
from access.serializers import ADDRESSES_MAX, EXPIRES_MAX_DAYS, OVERLAP_MAX_HOURS, RATE_MAX_PER_MIN
from access.types import KeyDraft, KeyStatus, Scope
from pipeline.browsing import Audited, Browsed, Question, ask, badge

KEYS = "admin:access_apikey_changelist"
OPEN_FORMS = "key_forms"
OPEN_FORMS_MAX = 20
EXPIRES_DAYS = 180
OVERLAP_HOURS = 24
SCOPES_SAID = {
    Scope.SIGNALS_WRITE: "send signals",
    Scope.SIGNALS_READ: "read signals and what became of them",
    Scope.DECISIONS_READ: "read decisions",
    Scope.STREAM: "subscribe to decisions",
    Scope.OPS: "dead letters, switches, cancelling",
    Scope.ADMIN: "everything, keys included",
}


class IssueForm(forms.Form):
    """What a new key is to be."""

    name = forms.CharField(max_length=100, help_text="Who holds it: a strategy, a person, a desk.")
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{scope.value}: {SCOPES_SAID[scope]}") for scope in Scope],
        widget=forms.CheckboxSelectMultiple,
    )
    expires_in_days = forms.IntegerField(
        min_value=1,
        max_value=EXPIRES_MAX_DAYS,
        initial=EXPIRES_DAYS,
        required=False,
        help_text="Empty: it does not expire.",
    )
    addresses = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One address or CIDR block a line, such as 10.0.0.0/8. Empty: from anywhere.",
    )
    rate_per_min = forms.IntegerField(
        min_value=1,
        max_value=RATE_MAX_PER_MIN,
        required=False,
        help_text="Writes a minute. Empty: as for everybody (RATE_LIMIT_PER_MIN).",
    )
    burst = forms.IntegerField(
        min_value=1,
        max_value=RATE_MAX_PER_MIN,
        required=False,
        help_text="Writes at once. Empty: as for everybody (RATE_LIMIT_BURST).",
    )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise forms.ValidationError("It must be printable text.")
        return name

    def clean_addresses(self) -> list[str]:
        """Return the blocks, or say which line is none."""
        lines = [line.strip() for line in self.cleaned_data["addresses"].splitlines()]
        blocks = []
        for place, line in enumerate(lines, start=1):
            try:
                blocks += [str(network(line))] if line else []
            except ValueError as error:
                raise forms.ValidationError(f"Line {place}: {error}") from error
        if len(blocks) > ADDRESSES_MAX:
            raise forms.ValidationError(f"At most {ADDRESSES_MAX} blocks.")
        return blocks

    def draft(self, *, now: datetime) -> KeyDraft:
        """Return the key that is asked for."""
        given = self.cleaned_data
        days = given["expires_in_days"]
        return KeyDraft(
            name=given["name"],
            scopes=frozenset(Scope(scope) for scope in given["scopes"]),
            expires_at=now + timedelta(days=days) if days else None,
            addresses=tuple(given["addresses"]),
            rate_per_min=given["rate_per_min"],
            burst=given["burst"],
        )


class RotateForm(forms.Form):
    """How long old and new key both work."""

    overlap_hours = forms.FloatField(
        min_value=0,
        max_value=OVERLAP_MAX_HOURS,
        initial=OVERLAP_HOURS,
        help_text="So long the old key works beside the new one. 0: not a moment.",
    )


class RevokeForm(forms.Form):
    """The id of the key that is revoked, typed, so that it is the one that is meant."""

    key_id = forms.CharField(max_length=40, label="Type the key's id")

    def __init__(self, *args: Any, key: ApiKey, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.key = key

    def clean_key_id(self) -> str:
        typed = str(self.cleaned_data["key_id"]).strip()
        if typed != self.key.pk:
            raise forms.ValidationError(f"That is not the id of {self.key.name}.")
        return typed


@admin.register(ApiKey)
class ApiKeyAdmin(Browsed):
    """Keys of programs: issued, rotated and revoked; a secret is shown once and never again."""

    list_display = (
        "id",
        "name",
        "state",
        "shown_scopes",
        "expires_at",
        "last_used_at",
        "last_used_address",
        "created_at",
    )
    ordering = ("-created_at",)
    search_words = ("id", "name", "owner")
    search_help_text = "An id or a whole name"
    hidden = ("secret_hmac",)
    change_list_template = "admin/access/apikey/change_list.html"
    change_form_template = "admin/access/apikey/change_form.html"

    @admin.display(description="status")
    def state(self, key: ApiKey) -> SafeString:
        return badge(queries.key_status(key=key, now=datetime.now(UTC)))

    @admin.display(description="scopes")
    def shown_scopes(self, key: ApiKey) -> str:
        return " ".join(key.scopes)

    def may_manage(self, request: HttpRequest) -> bool:
        """Whether this person may issue, rotate and revoke keys."""
        return request.user.has_perm("access.manage_keys")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("issue/", wrap(self.issue), name="key_issue"),
            path("<slug:pk>/rotate/", wrap(self.rotate), name="key_rotate"),
            path("<slug:pk>/revoke/", wrap(self.revoke), name="key_revoke"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Offer to issue a key."""
        shown = {"may_manage": self.may_manage(request)}
        return super().changelist_view(request, {**(extra_context or {}), **shown})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer what can be done with this key."""
        key: ApiKey | None = kwargs.get("obj")
        status = queries.key_status(key=key, now=datetime.now(UTC)) if key else None
        managed = self.may_manage(request)
        context["may_revoke"] = managed and status is KeyStatus.ACTIVE
        context["may_rotate"] = context["may_revoke"] and not hasattr(key, "successor")
        answer: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return answer

    def issue(self, request: HttpRequest) -> HttpResponse:
        """Ask what the key is to be, and show it in the answer to that and nowhere else."""
        self._check(request)
        form = IssueForm(request.POST or None)
        if form.is_valid():
            if not _close_form(request):
                return self._shown_before(request)
            now = datetime.now(UTC)
            key, plain = services.issue_key(
                draft=form.draft(now=now), actor=request.user.get_username(), now=now
            )
            return self._with_secret(request, key, plain)
        return self._form(request, form, title="Issue an API key", submit="Issue")

    def rotate(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Ask for the overlap, and show the successor in the answer to that and nowhere else."""
        key = self._key(request, pk)
        form = RotateForm(request.POST or None)
        if form.is_valid():
            if not _close_form(request):
                return self._shown_before(request)
            try:
                successor, plain = services.rotate_key(
                    key=key,
                    actor=request.user.get_username(),
                    now=datetime.now(UTC),
                    overlap=timedelta(hours=form.cleaned_data["overlap_hours"]),
                )
            except services.KeyNotRotatable as refused:
                form.add_error(None, str(refused))
            else:
                return self._with_secret(request, successor, plain)
        return self._form(request, form, title=f"Rotate {key}", submit="Rotate")

    def revoke(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Ask for the key's id, and revoke it."""
        key = self._key(request, pk)
        form = RevokeForm(request.POST if "agreed" in request.POST else None, key=key)
        if form.is_valid():
            services.revoke_key(key=key, actor=request.user.get_username(), now=datetime.now(UTC))
            self.message_user(request, f"{key} is revoked.", messages.SUCCESS)
            return HttpResponseRedirect(reverse(KEYS))
        question = Question(
            title=f"Revoke {key.name}",
            told=[
                f"The key {key.pk} stops working within 5 s, open sockets end within 10 s.",
                f"It was last used {_last_use(key)}.",
            ],
            submit="Revoke",
            is_dangerous=True,
            back=reverse("admin:access_apikey_change", args=[pk]),
        )
        return ask(request, self.admin_site, question, form=form)

    def _check(self, request: HttpRequest) -> None:
        if not self.may_manage(request):
            raise PermissionDenied

    def _key(self, request: HttpRequest, pk: str) -> ApiKey:
        self._check(request)
        key = ApiKey.objects.filter(pk=pk).first()
        if key is None:
            raise Http404
        return key

    def _form(
        self, request: HttpRequest, form: forms.Form, *, title: str, submit: str
    ) -> HttpResponse:
        shown = {"title": title, "form": form, "submit": submit, "mark": _open_form(request)}
        return self._page(request, "issue", shown)

    def _with_secret(self, request: HttpRequest, key: ApiKey, plain: str) -> HttpResponse:
        title = f"The key of {key.name}, shown only now"
        answer = self._page(request, "shown", {"title": title, "key": key, "plain": plain})
        add_never_cache_headers(answer)
        return answer

    def _shown_before(self, request: HttpRequest) -> HttpResponse:
        """Answer the same form sent twice, as by reloading: no secret, and no second key."""
        shown = {"title": "This form was sent already", "key": None, "plain": ""}
        answer = self._page(request, "shown", shown)
        answer.status_code = 409
        return answer

    def _page(self, request: HttpRequest, name: str, shown: dict[str, Any]) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, **shown}
        return TemplateResponse(request, f"admin/access/apikey/{name}.html", context)


def _last_use(key: ApiKey) -> str:
    if key.last_used_at is None:
        return "never"
    return f"at {key.last_used_at:%Y-%m-%d %H:%M} UTC from {key.last_used_address or 'nowhere'}"


def _open_form(request: HttpRequest) -> str:
    """Return a mark for a form that may be sent once; the session remembers the latest."""
    mark = secrets.token_urlsafe(9)
    request.session[OPEN_FORMS] = [*request.session.get(OPEN_FORMS, []), mark][-OPEN_FORMS_MAX:]
    return mark


def _close_form(request: HttpRequest) -> bool:
    """Say whether the form that was sent was still open, and close it."""
    marks: list[str] = request.session.get(OPEN_FORMS, [])
    mark = request.POST.get("mark", "")
    if mark not in marks:
        return False
    request.session[OPEN_FORMS] = [each for each in marks if each != mark]
    return True


@admin.register(User)
class PersonAdmin(UserAdmin, Audited):  # type: ignore[type-arg]
    """People. Only a superuser makes superusers, or gives single permissions."""

    list_display = ("username", "email", "shown_groups", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff", "groups")
    readonly_fields = ("last_login", "date_joined")

    @admin.display(description="groups")
    def shown_groups(self, person: User) -> str:
        return ", ".join(group.name for group in person.groups.all())

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        fixed = list(super().get_readonly_fields(request, obj))
        return fixed if request.user.is_superuser else [*fixed, "is_superuser", "user_permissions"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keep superusers out of the hands of everybody else."""
        above = obj is not None and obj.is_superuser and not request.user.is_superuser
        return not above and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """People are made inactive: the trail names them."""
        del request, obj
        return False
