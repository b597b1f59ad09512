"""The JSON API of the application, under `/api/v1`.

    request -> Authenticated (auth.py) -> Endpoint -> permission -> query and body validated -> handler -> answer
                                            |                                                    |
                              problem.py renders what refused it                 one transaction: read, or decide and
                                                                                 apply, with the idempotency key

An endpoint is one row of a table and one function. To add one:

1. Write its models as subclasses of `model.Model`: what is asked (query), what is sent (body), what is answered. They both
   validate and describe: there is no second place.
2. Write `def handle(call: Call, conn: Connection) -> Model | Answer`. It is synchronous and runs in one transaction, which
   may be tried again: read with `conn`, change with `call.door(conn, edits)`, take time and ids from `call` only. What is
   refused is raised as one of `syncd.errors`; what the door refused was recorded, and that record stays.
3. Add an `Operation` to the module's `OPERATIONS`: method, path, permission, handler, models. The router
   (routes.py) and the description at `/api/v1/openapi.json` (openapi.py) are both made from it, and so are the tests
   that throw everything at it. A new module is named in routes.py; a new permission in core/permission.py.

Dry runs, idempotency keys, ETags, paging, limits, problem details and 405 need nothing more.
"""
