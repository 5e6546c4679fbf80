"""Words of tables that are about no child: totals, signatures, and what people add to the name of a column."""

from __future__ import annotations

import re
from typing import Final

# The first filled cell of a row that adds up.
TOTAL: Final = re.compile(
    r"(本页|本表|全校|全班|全县|全市|总)?(合计|总计|小计|共计|累计|总数|总人数|人数合计|合计人数)(人数|金额|数)?[:：\s(（\d].*"
    r"|(本页|本表|全校|全班|全县|全市)?(合\s*计|总\s*计|小\s*计|共\s*计|累\s*计|总\s*数|总人数|人数合计|合计人数|合计金额|合计数)[:：]?"
    r"|共\s*\d+\s*[人名条].*"
    r"|(sub|grand)?\s*totals?[:：\s\d]*",
    re.I,
)
# The first filled cell of a row under the table: who made it, who signs it, what is to be noted.
SIGNED: Final = re.compile(
    r"(制表|填表|填报|审核|复核|审批|经办|负责|主管|联系|录入|校对|校长|园长|班主任|单位负责|学校负责|主要负责)"
    r"(人|员|单位|日期|时间|签字|签名|签章|盖章|领导|意见|联系电话|电话){0,4}+\s*[(（:：].*"
    r"|(单位|学校|学校公章|单位公章|公章|盖章|单位盖章|学校盖章|签章|签字)\s*([(（](公章|盖章|签章|章)[)）])?\s*[:：].*"
    r"|(说明|备注|注|注意|填表说明|填报说明|注意事项|温馨提示)\s*\d?\s*[:：].*"
    r"|(制表|填表|填报|审核|上报|统计)(人|日期|时间|单位)[:：]?"
    r"|(prepared|checked|signed|approved) by\b.*|notes?\s*[:：].*"
)
# What may stand beside a known word in the name of a column without changing whose it is.
BESIDE: Final = re.compile(
    r"(?:学生|本人|受助|幼儿|儿童|孩子|新生|该生|的|号码|号|码|全称|全名|名称|基本|资料|信息|情况|请|填写|填|必填|选填|必须|为|文本|格式|数字|现在|现|当前|目前|"
    r"公历|阳历|代码|编码|\d{1,2}位|同身份证|与户口本一致|the|of|student|pupil|child|no|number|s)*+"
)
# What in brackets tells one of several apart, and is no note.
COUNTED: Final = r"[\d一二三四五]"
