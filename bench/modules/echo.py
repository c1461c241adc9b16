"""The task that benchmarks run: it does as little as a body can."""

from pydantic import BaseModel

from perago import task


class EchoParams(BaseModel):
    x: int = 0


class EchoResult(BaseModel):
    y: int


@task(name="bench.echo", owner_email="bench@example.com")
def echo(params: EchoParams) -> EchoResult:
    return EchoResult(y=params.x + 1)
