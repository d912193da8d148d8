"""Who comes in: every request of the window is somebody's, and what they may see follows from it."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from agents.window.answers import HEADERS, VISITOR, Problem, problem
from agents.window.office import Office
from agents.window.rights import MACHINE


def gate(office: Office) -> Middleware:
    """The middleware that lets requests in, and gives every answer its headers."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            request[VISITOR] = MACHINE
            response = await handler(request)
        except Problem as no:
            response = problem(no.status, no.title, no.detail, no.headers)
        except web.HTTPException as error:
            response = problem(error.status, error.reason, f"{request.method} {request.path}")
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return guarded
