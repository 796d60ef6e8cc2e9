"""Validate the RO-Crate in a folder, and print what the validator objects to, a line each; empty: the crate is valid.

Run it in an environment with roc-validator and rocrate. roc-validator needs an older rich than the project has, so this
cannot be the tests' own environment. The one thing that it would fetch, the context of RO-Crate 1.1, is put together
from the later one that rocrate brings: of the terms that our crate uses these four have other addresses in it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import requests
from rocrate.vocabs import RO_CRATE

WORKFLOW = "https://bioschemas.org/ComputationalWorkflow"
TERMS_1_1 = {
    "ComputationalWorkflow": WORKFLOW,
    "input": f"{WORKFLOW}#input",
    "output": f"{WORKFLOW}#output",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
}


def answer(requester: object, address: str, **options: Any) -> requests.Response:
    """Answer a request for the context; refuse any other."""
    assert address == "https://w3id.org/ro/crate/1.1/context", address
    response = requests.Response()
    response.status_code = 200
    response.headers["Content-Type"] = "application/ld+json"
    response._content = json.dumps({"@context": RO_CRATE["@context"] | TERMS_1_1}).encode()
    return response


def main(folder: str) -> None:
    """Validate a folder; the validator's packages are imported here, because tests collect this file without them."""
    from rocrate_validator import models, services
    from rocrate_validator.utils.http import HttpRequester

    HttpRequester.get = answer
    settings = services.ValidationSettings(
        rocrate_uri=folder,
        profile_identifier="workflow-run-crate",
        requirement_severity=models.Severity.RECOMMENDED,
        offline=True,
    )
    found = {
        (issue.check.identifier, issue.severity.name, issue.message)
        for issue in services.validate(settings).get_issues()
    }
    for identifier, severity, message in sorted(found):
        print(identifier, severity, message)


if __name__ == "__main__":
    main(sys.argv[1])
