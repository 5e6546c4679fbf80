"""The bank's own words: its result codes, and the columns of the files that go there and come back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.core.codes import Code, CodeList
from app.core.i18n import Message, _m


class Verdict(StrEnum):
    """What a result code says about the money."""

    PAID = "paid"
    RETURNED = "returned"
    OPEN = "open"
    """Nobody knows yet: the line stays sent and is never sent again."""


class ReturnClass(StrEnum):
    """Why a line was not paid, by what has to be done about it."""

    NONE = "none"
    DATA = "data"
    ACCOUNT = "account"
    TRANSIENT = "transient"
    UNKNOWN = "unknown"
    DUPLICATE = "duplicate"


RETURN_CLASSES: Final[dict[str, Message]] = {
    ReturnClass.DATA: _m("Account details are wrong"),
    ReturnClass.ACCOUNT: _m("Account cannot take money"),
    ReturnClass.TRANSIENT: _m("Bank was busy"),
    ReturnClass.UNKNOWN: _m("Result unknown"),
    ReturnClass.DUPLICATE: _m("Bank took it for a repetition"),
}

WHAT_TO_DO: Final[dict[str, Message]] = {
    ReturnClass.DATA: _m(
        "Compare the account with the bank card, correct it in the student's record, then mark it as repaired."
    ),
    ReturnClass.ACCOUNT: _m(
        "Ask the guardian to have the bank put the account in order, or record another account; then mark it as "
        "repaired."
    ),
    ReturnClass.TRANSIENT: _m("Nothing is wrong with the account. Mark it as repaired to send it again."),
    ReturnClass.UNKNOWN: _m(
        "Ask the bank what became of the payment. It is not sent again until that is known."
    ),
    ReturnClass.DUPLICATE: _m("Ask the bank which payment it already has. This one is not sent again."),
}


@dataclass(frozen=True, slots=True)
class BankCode(Code):
    """A code of the bank's result file."""

    reason: ReturnClass

    @property
    def verdict(self) -> Verdict:
        if self.reason is ReturnClass.NONE:
            return Verdict.PAID
        if self.reason in (ReturnClass.UNKNOWN, ReturnClass.DUPLICATE):
            return Verdict.OPEN
        return Verdict.RETURNED


_R = ReturnClass

BANK_CODES: Final = CodeList(
    [
        BankCode("0000", "成功", "Paid", _R.NONE),
        BankCode("4000", "已发送，视为成功", "Sent, final success", _R.NONE),
        BankCode("3004", "无效卡号", "No valid card number", _R.DATA),
        BankCode("3006", "卡已挂失", "Card reported lost", _R.ACCOUNT),
        BankCode("3009", "无此账户", "No such account", _R.DATA),
        BankCode("3010", "过期卡", "Card expired", _R.ACCOUNT),
        BankCode("3016", "账户已挂失", "Account reported lost", _R.ACCOUNT),
        BankCode("3017", "账户冻结", "Account frozen", _R.ACCOUNT),
        BankCode("3018", "账户已清户", "Account cleared", _R.ACCOUNT),
        BankCode("3020", "账户临时锁定", "Account locked for a time", _R.ACCOUNT),
        BankCode("3028", "系统忙", "System busy", _R.TRANSIENT),
        BankCode("3030", "账号错误", "Account number wrong", _R.DATA),
        BankCode("3031", "账号户名不符", "Account and holder do not match", _R.DATA),
        BankCode("3034", "非活期账户", "Not a current account", _R.DATA),
        BankCode("3037", "账户未生效", "Account not yet in force", _R.ACCOUNT),
        BankCode("3039", "账户已关户", "Account closed", _R.ACCOUNT),
        BankCode("3051", "重复业务", "Repeated transaction", _R.DUPLICATE),
        BankCode("3056", "退票", "Returned", _R.ACCOUNT),
        BankCode("3057", "账户状态错误", "Account in a wrong state", _R.ACCOUNT),
        BankCode("3059", "通讯失败", "Communication failed", _R.UNKNOWN),
        BankCode("3065", "户名错误", "Holder's name wrong", _R.DATA),
        BankCode("3068", "非个人活期结算户", "Not a personal current account", _R.DATA),
        BankCode("3069", "长期不动户", "Dormant account", _R.ACCOUNT),
        BankCode("3999", "其他", "Other", _R.UNKNOWN),
    ]
)


def class_of(code: str) -> ReturnClass:
    """A code that the list does not know says nothing about the money."""
    known = BANK_CODES.get(code)
    return known.reason if known else ReturnClass.UNKNOWN


def verdict_of(code: str) -> Verdict:
    known = BANK_CODES.get(code)
    return known.verdict if known else Verdict.OPEN


# --- The order file ---------------------------------------------------------------------------

ORDER_COLUMNS: Final = (
    "序号",
    "收款账号",
    "收款户名",
    "金额",
    "收款行名",
    "证件类型",
    "证件号",
    "摘要/用途",
    "备注(业务流水号)",
)
ORDER_HEAD: Final = ("批次号", "付款账号", "付款户名", "总笔数", "总金额", "日期")
ORDER_SHEET: Final = "代发明细"
PURPOSE: Final = "社会资助助学金"

# --- The result file: how banks call its columns; spaces and brackets are taken out before comparing ------------

RESULT_COLUMNS: Final[dict[str, frozenset[str]]] = {
    "reference": frozenset(
        {"备注业务流水号", "业务流水号", "备注", "流水号", "业务编号", "企业流水号", "客户流水号", "附言",
         "reference", "remark", "remittanceid"}
    ),
    "amount": frozenset(
        {"金额", "金额元", "交易金额", "发生额", "代发金额", "实发金额", "amount", "amountyuan"}
    ),
    "code": frozenset(
        {"返回码", "结果码", "响应码", "处理码", "状态码", "错误码", "交易结果码", "回盘码", "处理结果码",
         "code", "resultcode", "returncode", "statuscode"}
    ),
    "text": frozenset(
        {"返回信息", "处理结果", "结果说明", "失败原因", "返回说明", "错误信息", "状态", "交易结果", "处理状态", "原因",
         "text", "result", "message", "resulttext"}
    ),
    "day": frozenset({"交易日期", "入账日期", "处理日期", "记账日期", "日期", "date", "valuedate", "bookingdate"}),
}  # fmt: skip
