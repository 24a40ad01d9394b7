"""Alembic's way into the database: the same engine and the same metadata as the program's."""

from __future__ import annotations

from alembic import context

from nhi import settings
from nhi.database import open_engine
from nhi.tables import Base

url: str = context.config.attributes.get("url") or settings.read().database_url  # `.env` counts here too

if context.is_offline_mode():
    context.configure(url=url, target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = open_engine(url)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=connection.dialect.name == "sqlite",
            user_module_prefix="tables.",
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()
