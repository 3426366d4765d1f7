"""Why a judge has no verdict: the machine can't isolate, no server can judge, or a worker failed."""


class IsolationError(RuntimeError):
    """This machine, or a server, lacks what the judge needs to isolate programs."""


class ServerError(RuntimeError):
    """No SandboxFusion server answers, or none of them can judge."""


class WorkerFault(Exception):
    """A worker failed with a submission; nothing is known about the program. The judge tries again."""
