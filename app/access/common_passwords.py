"""The passwords that are tried first: keyboard runs, years, words of office and country, with their usual tails; and
the words of this place, of which alone none is made.

A list of our own, of eight characters and more: shorter ones are refused by their length.
"""

from __future__ import annotations

from typing import Final

COMMON: Final = frozenset(
    """
    !qaz2wsx !qaz@wsx 00000000 00000000a 0123456789 0987654321 11111111 111111111 11111111a 11112222
    11223344 123123123 123321123 12341234 12344321 12345678 123456789 1234567890 123456789a 123456789abc
    123456789q 123456789z 12345678a 1234567a 1234567q 123456aa 123456abc 123456qq 123456zz 12345qwert
    1234abcd 1234qwer 123654789 123qwe123 123qweasd 12qwaszx 13145200 147258369 147852369 159753456 19491001
    19781218 1a2b3c4d 1q2w3e4r 1q2w3e4r5t 1qaz!qaz 1qaz2wsx 1qaz2wsx3edc 1qaz@wsx 1qazxsw2 20082008 20252025
    20262026 258369147 2wsx3edc 321654987 369258147 456789123 52013145 5201314520 5201314a 520520520
    66666666 66666666a 741852963 789456123 87654321 88888888 88888888a 987654321 99999999 a11111111 a1234567
    a12345678 a123456789 a1b2c3d4 a1b2c3d4e5 a5201314 a@123456 aa123456 aa12345678 aa@123456 aaa123456
    aaaaaaaa1 abc12345 abc123456 abc12345678 abc123abc abc@1234 abc@12345 abcd1234 abcd12345 abcd@1234
    abcde12345 abcdefgh admin123 admin1234 admin12345 admin666 admin888 admin@123 admin@1234 adminadmin
    administrator alipay123 asd12345 asd123456 asd123asd asdf1234 asdfasdf asdfghjk asdfghjkl asdfghjkl1
    asdfqwer baobao123 baobei520 baseball1 batman123 beijing123 beijing2008 caonima123 changeme changeme1
    changeme123 changsha123 china123 china2026 china888 computer1 default1 demo1234 dragon123 fangfang1
    football1 geheim123 google123 guest123 happy123 happy1234 hello123 hello1234 helloworld helloworld1
    huawei123 hunan123 iloveyou iloveyou1 iloveyou520 ily520520 internet1 iphone123 jennifer1 jianghua1
    jianghua123 jiaoyu123 jiaoyuju jiaoyuju1 jiaoyuju123 laogong520 laopo520 laoshi123 letmein1 letmein123
    lilili123 liwei1234 lkjhgfdsa love1234 lovelove loveyou1 loveyou123 lucky123 lucky888 master123 michael1
    microsoft1 mima1234 mima123456 mnbvcxz1 monkey123 mysql123 nihao123 nihaoma1 oracle123 p@ssw0rd
    p@ssw0rd1 p@ssw0rd123 p@ssword p@ssword1 pa55word pass1234 pass12345 passpass passport passw0rd
    passw0rd1 password password1 password12 password123 password1234 passwort1 poiuytrewq postgres postgres1
    postgres123 princess1 q1234567 q123456789 q1w2e3r4 q1w2e3r4t5 qaz12345 qaz123456 qazwsx123 qazwsxedc
    qq123456 qq123456789 qq5201314 qwaszx123 qwe12345 qweasdzxc qweqweqwe qwer1234 qwer12345 qwerty12
    qwerty123 qwerty1234 qwertyui qwertyuiop qwertyuiop1 root1234 rootroot samsung123 secret12 secret123
    shadow123 sqlserver1 starwars1 sunshine1 superman1 taobao123 test1234 test12345 testtest tiantian1
    toor1234 trustno1 trustno123 user1234 useruser wangjian1 wangwei123 wechat123 weixin123 welcome1
    welcome123 welcome2025 welcome2026 whatever1 windows10 windows11 windows123 wo123456 woaini12 woaini123
    woaini1314 woaini520 woaini5201314 woaini521 woaiwojia woaiwojia1 woaizhongguo wodemima wodemima1
    woshishei1 wsx123456 xiaomi123 xiaoming1 xiaoming123 xuesheng1 xuesheng123 xuexiao1 xuexiao123 yongzhou
    yongzhou1 yongzhou123 yongzhou2026 zaq12wsx zaq1xsw2 zhangwei1 zhangwei123 zhifubao zhongguo zhongguo1
    zhongguo123 zhuxue123 zhuxue2026 zhuxue888 zizhu123 zizhuzhongxin zxc12345 zxc123456 zxc123zxc zxcvbnm1
    zxcvbnm12 zxcvbnm123
    """.split()  # noqa: SIM905 - a list of this length reads better as text
)

# Whoever knows what this is tries these first. docs/security.md repeats the list.
OF_THIS_PLACE: Final = frozenset(
    """
    administrator auditor bureau charity city county donor education finance hunan jiaoyu jiaoyuju officer password
    registry releaser reviewer school schoolaid sponsor student studentaid xuesheng xuexiao yongzhou yongzhoushi zhuxue
    zhuxuejin zizhu zizhuzhongxin 助学 助学金 学校 学生 教育 教育局 永州 永州市 湖南 资助 资助中心 学生资助 学生资助中心
    """.split()  # noqa: SIM905 - a list of this length reads better as text
)
