"""Addresses that several areas of pages share; `pid` is the convertor of public ids."""

from __future__ import annotations

from app.door.ids import register as install

__all__ = ["AGREEMENT", "DISBURSEMENT", "OWN_AGREEMENT", "OWN_INSTALMENT", "REMITTANCE", "STUDENT", "install"]

STUDENT = "/students/{student_id:pid}"
AGREEMENT = "/agreements/{agreement:pid}"
REMITTANCE = "/remittances/{remittance:pid}"
DISBURSEMENT = "/disbursements/{disbursement:pid}"
OWN_AGREEMENT = "/sponsorship/{agreement:pid}"
OWN_INSTALMENT = "/sponsorship/instalments/{instalment:pid}"
