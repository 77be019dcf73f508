"""Which meter feeds which vehicle."""

from webapp.devices.mapping import MappingPageSchema, MappingPairSchema
from webapp.openapi.answers import answer
from webapp.openapi.components import page_of, record, schema
from webapp.openapi.fields import query_parameters
from webapp.openapi.operations import Operations, operation


def operations() -> Operations:
    path = "/v1/analytics/vehicle-mapping"
    ended = record("What was ended.", {"items": {"type": "array", "items": schema("Mapping"), "minItems": 1}})
    pair = {"vehicleId": "V001", "meterId": "M001"}
    yield (
        path,
        "post",
        operation(
            "Mapping",
            "mapVehicle",
            "Say which meter feeds a vehicle",
            {
                201: answer("Mapped", schema("Mapping")),
                200: answer("That mapping was there; its `to` is now the one given", schema("Mapping")),
            },
            errors="400 413 415 422 503",
            needs=("admin",),
            description="Vehicle, meter and `from` name a mapping. `to` must be after `from`.",
            requestBody={
                "required": True,
                "content": {
                    "application/json": {
                        "schema": schema("NewMapping"),
                        "examples": {
                            "always": {"summary": "Always", "value": pair},
                            "while": {
                                "summary": "For a while",
                                "value": pair | {"from": "2026-02-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
                            },
                        },
                    }
                },
            },
        ),
    )
    yield (
        path,
        "get",
        operation(
            "Mapping",
            "listMappings",
            "List mappings, of one vehicle or of all",
            {200: answer("A page of them", page_of("Mapping"))},
            errors="422 503",
            needs=("read",),
            parameters=query_parameters(MappingPageSchema, {"vehicleId": "only those of this vehicle"}),
        ),
    )
    yield (
        path,
        "delete",
        operation(
            "Mapping",
            "endMapping",
            "End a mapping now",
            {200: answer("Ended; what the meter fed until now still counts", ended)},
            errors="404 422 503",
            needs=("admin",),
            parameters=query_parameters(MappingPairSchema),
        ),
    )
