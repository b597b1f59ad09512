"""Settings, URLs and WSGI application of a Django site with django-scim2, from its documentation. For gunicorn.

As good as its settings make it: SQLite in WAL with synchronous=NORMAL as ours, persistent connections, no middleware but
the one that knows the token, groups of a page prefetched (its own hook for that).
"""

import os
from types import SimpleNamespace
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.urls import include, path

SECRET_KEY = TOKEN = os.environ["BENCH_TOKEN"]
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
USE_TZ = True
LOGGING_CONFIG = None
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_scim", "people"]
MIDDLEWARE = ["django_site.authenticated"]
AUTH_USER_MODEL = "people.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["BENCH_DATABASE"],
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
SCIM_SERVICE_PROVIDER = {
    "NETLOC": "127.0.0.1",
    "SCHEME": "http",
    "AUTHENTICATION_SCHEMES": [{"type": "oauthbearertoken", "name": "token"}],
    "GROUP_MODEL": "people.models.Group",
    "GET_QUERYSET_POST_PROCESSOR_GETTER": "django_site.prefetched_of",
}
SOMEBODY = SimpleNamespace(is_authenticated=True, is_anonymous=False)


def authenticated(get_response: Any) -> Any:
    def middleware(request: Any) -> Any:
        if request.headers.get("Authorization") == f"Bearer {TOKEN}":
            request.user = SOMEBODY
        return get_response(request)

    return middleware


def prefetched_of(_: Any) -> Any:
    return lambda request, found: found.prefetch_related("scim_groups")


urlpatterns = [path("scim/v2/", include("django_scim.urls"))]
application = get_wsgi_application()
