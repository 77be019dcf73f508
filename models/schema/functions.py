"""SQL functions and views: the rules of energy, written once, for all statements of models/analytics and models/alerts.

The .sql files beside this module are the newest form of what the migrations create.
"""

from pathlib import Path

from sqlalchemy import DDL, event

from models.schema.columns import metadata

# In the order in which one uses another.
FILES = ("times", "efficiency", "energy", "feeds", "rollups")

for _name in FILES:
    _script = Path(__file__).with_name(f"{_name}.sql").read_text()
    event.listen(metadata, "after_create", DDL(_script.replace("%", "%%")))
