"""The first task of the metrics page, for the cost of checking it."""

from pydantic import BaseModel, Field

from perago import MetricRecorder, MetricSpec, task


class ValidateMetadataParams(BaseModel):
    song_id: str
    min_duration_seconds: int = Field(ge=1)


class ValidateMetadataOutput(BaseModel):
    valid: bool


@task(name="metadata.validate", owner_email="data@example.com", metrics=MetricSpec())
def validate_metadata(params: ValidateMetadataParams, metrics: MetricRecorder) -> ValidateMetadataOutput:
    with metrics.timer("metadata_lookup", labels={"source": "catalog"}):
        valid = True
    metrics.histogram("checked_items", 1)
    return ValidateMetadataOutput(valid=valid)
