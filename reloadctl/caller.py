"""Who asks, for the trace: the context in the environment, and the pipeline that CI says it is running.

Decides which variables are believed. Only attributes of the semantic conventions are made (cicd.*, vcs.*), and never
from a variable that may hold a password.
"""

import os

_CONTEXT = ("TRACEPARENT", "TRACESTATE", "BAGGAGE")
_LONGEST = 8192

# (attribute, variable): GitHub Actions, GitLab CI/CD, Jenkins. The URL a Jenkins job clones from is left out: it is
# where tokens are kept.
_CI = (
    ("cicd.pipeline.name", "GITHUB_WORKFLOW"),
    ("cicd.pipeline.run.id", "GITHUB_RUN_ID"),
    ("vcs.ref.head.revision", "GITHUB_SHA"),
    ("cicd.pipeline.name", "CI_PIPELINE_NAME"),
    ("cicd.pipeline.run.id", "CI_PIPELINE_ID"),
    ("cicd.pipeline.run.url.full", "CI_PIPELINE_URL"),
    ("vcs.ref.head.revision", "CI_COMMIT_SHA"),
    ("vcs.repository.url.full", "CI_PROJECT_URL"),
    ("cicd.pipeline.name", "JOB_NAME"),
    ("cicd.pipeline.run.id", "BUILD_ID"),
    ("cicd.pipeline.run.url.full", "BUILD_URL"),
    ("vcs.ref.head.revision", "GIT_COMMIT"),
)
_RUNS = ("GITHUB_RUN_ID", "CI_PIPELINE_ID", "BUILD_URL")
"""One of these is set where a pipeline runs; the others alone prove nothing."""


def headers() -> tuple[tuple[str, str], ...]:
    """W3C trace context as request headers; a value that could break the request is not sent."""
    return tuple(
        (key.lower(), text)
        for key in _CONTEXT
        if (text := os.environ.get(key, ""))
        and text.isascii()
        and text.isprintable()
        and len(text) <= _LONGEST
    )


def attributes() -> dict[str, object]:
    """Span attributes of the pipeline, the first variable of each that is set."""
    if not any(os.environ.get(variable) for variable in _RUNS):
        return {}
    found: dict[str, object] = {}
    for attribute, variable in _CI:
        if text := os.environ.get(variable):
            found.setdefault(attribute, text[:1024])
    server, repository = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    if server and repository:
        found.setdefault("vcs.repository.url.full", f"{server}/{repository}")
        if run := os.environ.get("GITHUB_RUN_ID"):
            found.setdefault(
                "cicd.pipeline.run.url.full", f"{server}/{repository}/actions/runs/{run}"
            )
    return found
