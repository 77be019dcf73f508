import pytest

from tests.deploy.compose_file import compose


@pytest.fixture(scope="module")
def services() -> dict:
    return compose()["services"]
