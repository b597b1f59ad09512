"""scim2-server's own ASGI application on its in-memory storage, with the bearer token of its command. For uvicorn."""

import os

from scim2_models import UnauthorizedException
from scim2_server.applications.asgi import ASGIApplication
from scim2_server.memory import AsyncInMemoryStorage
from scim2_server.requests import ScimRequest
from scim2_server.service import ScimService
from scim2_server.utils import load_default_provider

TOKEN = os.environ["BENCH_TOKEN"]


class Application(ASGIApplication):
    def check_auth(self, request: ScimRequest) -> None:
        scheme, _, token = (request.header("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or token != TOKEN:
            raise UnauthorizedException


provider = load_default_provider()
app = Application(AsyncInMemoryStorage(), provider, service=ScimService(provider, secret=TOKEN))
