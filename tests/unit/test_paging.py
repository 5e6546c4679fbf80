from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.core.paging import Direction, Page, keyset, page_of, page_size, read_page

pupil = Table(
    "pupil",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("public_id", String, nullable=False),
    Column("sort_key", String, nullable=False),
)
COLUMNS = [pupil.c.sort_key, pupil.c.id]


@pytest.fixture
def db() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    pupil.metadata.create_all(engine)
    with Session(engine) as session:
        # Many share a name: only the id tells them apart.
        session.execute(
            insert(pupil),
            [{"id": i, "public_id": f"p{i}", "sort_key": f"name{i % 7}"} for i in range(1, 101)],
        )
        yield session
    engine.dispose()


def page(db: Session, **options) -> Page:
    return read_page(
        db,
        select(pupil.c.public_id, pupil.c.id),
        COLUMNS,
        pupil.c.public_id,
        cursor_of=lambda row: row.public_id,
        **{"size": 20, **options},
    )


def in_order(*, descending: bool = False) -> list[int]:
    return sorted(range(1, 101), key=lambda i: (f"name{i % 7}", i), reverse=descending)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("size", [20, 30, 50, 100])
def test_walking_forwards_and_back_shows_every_row_once_in_the_same_pages(db, size, descending):
    pages = [page(db, size=size, descending=descending)]
    while pages[-1].next_cursor:
        pages.append(page(db, size=size, descending=descending, cursor=pages[-1].next_cursor))
    assert [row.id for p in pages for row in p.rows] == in_order(descending=descending)
    assert pages[0].prev_cursor is None
    for earlier, later in zip(reversed(pages[:-1]), reversed(pages), strict=False):
        assert later.prev_cursor is not None
        back = page(
            db, size=size, descending=descending, cursor=later.prev_cursor, direction=Direction.BACKWARD
        )
        assert back.rows == earlier.rows
        assert back.next_cursor is not None
        assert (back.prev_cursor is None) == (earlier is pages[0])


def test_a_cursor_whose_row_is_gone_starts_the_list_anew(db):
    assert page(db, cursor="gone", direction=Direction.BACKWARD).rows == page(db).rows


def test_a_cursor_outside_the_selection_tells_nothing_about_its_row(db):
    scoped = select(pupil.c.public_id, pupil.c.id).where(pupil.c.id <= 30)
    got = read_page(
        db, scoped, COLUMNS, pupil.c.public_id, cursor_of=lambda row: row.public_id, cursor="p99", size=20
    )
    assert got.prev_cursor is None
    assert len(got.rows) == 20


def test_the_page_of_an_empty_list_leads_nowhere():
    empty: Page[int] = page_of([], size=20, cursor_of=str, total=0)
    assert (empty.rows, empty.next_cursor, empty.prev_cursor, empty.total) == ([], None, None, 0)


@pytest.mark.parametrize(
    ("wish", "size"),
    [(None, 50), ("", 50), ("abc", 50), ("-5", 50), ("1", 20), (20, 20), ("75", 75), ("201", 200), ("٥", 50)],
)
def test_a_page_has_between_20_and_200_rows(wish, size):
    assert page_size(wish) == size


def test_both_engines_get_one_row_value_comparison():
    statement = keyset(select(pupil.c.id), COLUMNS, cursor_values=("name1", 5))
    for text in (str(statement), str(statement.compile(dialect=postgresql.dialect()))):
        assert "(pupil.sort_key, pupil.id) > (" in text
        assert "OR" not in text.split("WHERE")[1].split("ORDER")[0]


def test_a_cursor_of_the_wrong_length_is_a_mistake_of_the_program():
    with pytest.raises(ValueError, match="one value for each column"):
        keyset(select(pupil.c.id), COLUMNS, cursor_values=("name1",))
