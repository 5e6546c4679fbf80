"""What each role may do: one table, asked by routes, templates and verbs alike."""

from __future__ import annotations

from enum import StrEnum


class Permission(StrEnum):
    STUDENTS_READ = "students:read"
    STUDENTS_REGISTER = "students:register"
    STUDENTS_CHANGE = "students:change"
    STUDENTS_VOID = "students:void"
    STUDENTS_REVEAL = "students:reveal"
    STUDENTS_EXPORT = "students:export"
    STUDENTS_EXPORT_ALL = "students:export-all"
    HARDSHIP_RECORD = "hardship:record"
    LEVELS_RECORD = "levels:record"
    INTRODUCTIONS_READ = "introductions:read"
    INTRODUCTIONS_MANAGE = "introductions:manage"
    SPONSORS_READ = "sponsors:read"
    SPONSORS_APPROVE = "sponsors:approve"
    PLACES_CLAIM = "places:claim"
    CLAIMS_DECIDE = "claims:decide"
    AGREEMENTS_READ = "agreements:read"
    OWN_SPONSORSHIP_READ = "own-sponsorship:read"
    REMITTANCES_READ = "remittances:read"
    REMITTANCES_RECORD = "remittances:record"
    DISBURSEMENTS_LOG = "disbursements:log"
    DISBURSEMENTS_READ = "disbursements:read"
    DISBURSEMENTS_CONFIRM = "disbursements:confirm"
    DISBURSEMENTS_REVERSE = "disbursements:reverse"
    VOUCHERS_READ = "vouchers:read"
    PAYOUTS_READ = "payouts:read"
    PAYOUTS_PREPARE = "payouts:prepare"
    PAYOUTS_CHECK = "payouts:check"
    PAYOUTS_RELEASE = "payouts:release"
    PAYOUTS_RECONCILE = "payouts:reconcile"
    PAYOUTS_REPAIR = "payouts:repair"
    OVERSIGHT_READ = "oversight:read"
    OVERSIGHT_EXPORT = "oversight:export"
    LEDGER_READ = "ledger:read"
    AUDIT_READ = "audit:read"
    READERS_READ = "readers:read"
    ACCOUNTS_MANAGE = "accounts:manage"


class Role(StrEnum):
    SCHOOL_OFFICER = "school_officer"
    SCHOOL_HEAD = "school_head"
    COUNTY_OFFICER = "county_officer"
    COUNTY_REVIEWER = "county_reviewer"
    CITY_OFFICER = "city_officer"
    CITY_REVIEWER = "city_reviewer"
    FINANCE = "finance"
    RELEASER = "releaser"
    SPONSOR = "sponsor"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


_P = Permission

GRANTS: dict[Role, frozenset[Permission]] = {
    Role.SCHOOL_OFFICER: frozenset({
        _P.STUDENTS_READ, _P.STUDENTS_REGISTER, _P.STUDENTS_CHANGE, _P.STUDENTS_VOID, _P.STUDENTS_REVEAL,
        _P.STUDENTS_EXPORT, _P.HARDSHIP_RECORD, _P.INTRODUCTIONS_READ, _P.DISBURSEMENTS_READ,
        _P.DISBURSEMENTS_CONFIRM, _P.VOUCHERS_READ, _P.READERS_READ,
    }),
    Role.SCHOOL_HEAD: frozenset({
        _P.STUDENTS_READ, _P.STUDENTS_REVEAL, _P.HARDSHIP_RECORD, _P.LEVELS_RECORD, _P.INTRODUCTIONS_READ,
        _P.DISBURSEMENTS_READ, _P.DISBURSEMENTS_CONFIRM, _P.VOUCHERS_READ, _P.READERS_READ,
    }),
    Role.COUNTY_OFFICER: frozenset({
        _P.STUDENTS_READ, _P.STUDENTS_REGISTER, _P.STUDENTS_CHANGE, _P.STUDENTS_VOID, _P.STUDENTS_REVEAL,
        _P.STUDENTS_EXPORT, _P.HARDSHIP_RECORD, _P.LEVELS_RECORD, _P.INTRODUCTIONS_READ, _P.PAYOUTS_READ,
        _P.PAYOUTS_REPAIR, _P.DISBURSEMENTS_READ, _P.OVERSIGHT_READ, _P.READERS_READ,
    }),
    Role.COUNTY_REVIEWER: frozenset({
        _P.STUDENTS_READ, _P.STUDENTS_REVEAL, _P.LEVELS_RECORD, _P.INTRODUCTIONS_READ, _P.PAYOUTS_READ,
        _P.DISBURSEMENTS_READ, _P.OVERSIGHT_READ, _P.READERS_READ,
    }),
    Role.CITY_OFFICER: frozenset({
        _P.STUDENTS_READ, _P.STUDENTS_REGISTER, _P.STUDENTS_CHANGE, _P.STUDENTS_VOID, _P.STUDENTS_REVEAL,
        _P.STUDENTS_EXPORT, _P.STUDENTS_EXPORT_ALL, _P.HARDSHIP_RECORD, _P.LEVELS_RECORD, _P.INTRODUCTIONS_READ,
        _P.INTRODUCTIONS_MANAGE, _P.SPONSORS_READ, _P.SPONSORS_APPROVE, _P.CLAIMS_DECIDE, _P.AGREEMENTS_READ,
        _P.REMITTANCES_READ, _P.DISBURSEMENTS_READ, _P.DISBURSEMENTS_REVERSE, _P.PAYOUTS_READ, _P.PAYOUTS_PREPARE,
        _P.PAYOUTS_REPAIR, _P.OVERSIGHT_READ, _P.READERS_READ,
    }),
    Role.CITY_REVIEWER: frozenset({
        _P.STUDENTS_READ, _P.STUDENTS_REVEAL, _P.INTRODUCTIONS_READ, _P.SPONSORS_READ, _P.SPONSORS_APPROVE,
        _P.CLAIMS_DECIDE, _P.AGREEMENTS_READ, _P.DISBURSEMENTS_READ, _P.PAYOUTS_READ, _P.PAYOUTS_CHECK,
        _P.OVERSIGHT_READ,
    }),
    Role.FINANCE: frozenset({
        _P.INTRODUCTIONS_READ, _P.SPONSORS_READ, _P.AGREEMENTS_READ, _P.REMITTANCES_READ, _P.REMITTANCES_RECORD,
        _P.DISBURSEMENTS_READ, _P.DISBURSEMENTS_REVERSE, _P.VOUCHERS_READ, _P.PAYOUTS_READ, _P.PAYOUTS_RECONCILE,
        _P.OVERSIGHT_READ, _P.OVERSIGHT_EXPORT, _P.LEDGER_READ,
    }),
    Role.RELEASER: frozenset({
        _P.INTRODUCTIONS_READ, _P.PAYOUTS_READ, _P.PAYOUTS_RELEASE, _P.OVERSIGHT_READ,
    }),
    Role.SPONSOR: frozenset({
        _P.PLACES_CLAIM, _P.OWN_SPONSORSHIP_READ, _P.DISBURSEMENTS_LOG,
    }),
    Role.AUDITOR: frozenset({
        _P.STUDENTS_READ, _P.INTRODUCTIONS_READ, _P.SPONSORS_READ, _P.AGREEMENTS_READ, _P.REMITTANCES_READ,
        _P.DISBURSEMENTS_READ, _P.VOUCHERS_READ, _P.PAYOUTS_READ, _P.OVERSIGHT_READ, _P.OVERSIGHT_EXPORT,
        _P.LEDGER_READ, _P.AUDIT_READ, _P.READERS_READ,
    }),
    Role.ADMINISTRATOR: frozenset({_P.ACCOUNTS_MANAGE}),
}  # fmt: skip
