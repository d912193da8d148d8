"""Code tables: what the codes in records mean, and whose standard says so.

Those that several subjects share, or a national standard gives; one that a single subject needs stands
beside it. Editions: GB/T 2261.1-2003, GB/T 2261.2-2003, GB/T 3304-1991, GB/T 4761-2008, GB/T 26341-2010.
"""

import msgspec

from contracts.text import Text


class CodeTable(msgspec.Struct, frozen=True):
    """``codes`` with their meaning, by ``standard`` (``GB/T 2261.1``); empty for a contract's own."""

    standard: str
    title: Text
    codes: dict[str, Text]


def table(standard: str, zh: str, en: str, lines: str) -> CodeTable:
    """A line a code: the code, its meaning in Chinese, ``|``, its meaning in English."""
    codes = {}
    for line in lines.strip().splitlines():
        code, meaning = line.strip().split(" ", 1)
        chinese, english = meaning.split(" | ")
        if code in codes:
            raise ValueError(f"Expected each code of {en} once, got {code!r} twice")
        codes[code] = Text(chinese, english)
    return CodeTable(standard, Text(zh, en), codes)


SEX = table(
    "GB/T 2261.1",
    "性别",
    "Sex",
    """
    0 未知 | Unknown
    1 男 | Male
    2 女 | Female
    9 未说明 | Not stated
    """,
)

MARITAL_STATUS = table(
    "GB/T 2261.2",
    "婚姻状况",
    "Marital status",
    """
    10 未婚 | Never married
    20 已婚 | Married
    21 初婚 | Married for the first time
    22 再婚 | Married again
    23 复婚 | Married to the former spouse again
    30 丧偶 | Widowed
    40 离婚 | Divorced
    90 未说明的婚姻状况 | Not stated
    """,
)

#: In English the standard's romanised names, with the usual one beside them where it differs.
#: 97 and 98 are the population registers' additions to the 56.
NATIONALITY = table(
    "GB/T 3304",
    "民族",
    "Nationality",
    """
    01 汉族 | Han
    02 蒙古族 | Mongol
    03 回族 | Hui
    04 藏族 | Zang (Tibetan)
    05 维吾尔族 | Uygur
    06 苗族 | Miao
    07 彝族 | Yi
    08 壮族 | Zhuang
    09 布依族 | Buyei
    10 朝鲜族 | Chosen (Korean)
    11 满族 | Man (Manchu)
    12 侗族 | Dong
    13 瑶族 | Yao
    14 白族 | Bai
    15 土家族 | Tujia
    16 哈尼族 | Hani
    17 哈萨克族 | Kazak
    18 傣族 | Dai
    19 黎族 | Li
    20 傈僳族 | Lisu
    21 佤族 | Va
    22 畲族 | She
    23 高山族 | Gaoshan
    24 拉祜族 | Lahu
    25 水族 | Shui
    26 东乡族 | Dongxiang
    27 纳西族 | Naxi
    28 景颇族 | Jingpo
    29 柯尔克孜族 | Kirgiz
    30 土族 | Tu
    31 达斡尔族 | Daur
    32 仫佬族 | Mulao
    33 羌族 | Qiang
    34 布朗族 | Blang
    35 撒拉族 | Salar
    36 毛南族 | Maonan
    37 仡佬族 | Gelao
    38 锡伯族 | Xibe
    39 阿昌族 | Achang
    40 普米族 | Pumi
    41 塔吉克族 | Tajik
    42 怒族 | Nu
    43 乌孜别克族 | Uzbek
    44 俄罗斯族 | Russ (Russian)
    45 鄂温克族 | Ewenki
    46 德昂族 | Deang
    47 保安族 | Bonan
    48 裕固族 | Yugur
    49 京族 | Gin
    50 塔塔尔族 | Tatar
    51 独龙族 | Derung
    52 鄂伦春族 | Oroqen
    53 赫哲族 | Hezhen
    54 门巴族 | Monba
    55 珞巴族 | Lhoba
    56 基诺族 | Jino
    97 其他 | Other
    98 外国血统中国籍人士 | Chinese national of foreign descent
    """,
)

#: The two-digit codes. The edition of 2008 dropped 03 and 98 of the one before.
FAMILY_RELATION = table(
    "GB/T 4761",
    "家庭关系",
    "Family relation",
    """
    01 本人 | Self
    02 户主 | Head of the household
    10 配偶 | Spouse
    11 夫 | Husband
    12 妻 | Wife
    20 子 | Son
    21 独生子 | Only son
    22 长子 | Eldest son
    23 次子 | Second son
    24 三子 | Third son
    25 四子 | Fourth son
    26 五子 | Fifth son
    27 养子或继子 | Adopted son or stepson
    28 女婿 | Son-in-law
    29 其他儿子 | Another son
    30 女 | Daughter
    31 独生女 | Only daughter
    32 长女 | Eldest daughter
    33 次女 | Second daughter
    34 三女 | Third daughter
    35 四女 | Fourth daughter
    36 五女 | Fifth daughter
    37 养女或继女 | Adopted daughter or stepdaughter
    38 儿媳 | Daughter-in-law
    39 其他女儿 | Another daughter
    40 孙子、孙女或外孙子、外孙女 | Grandchild
    41 孙子 | Son's son
    42 孙女 | Son's daughter
    43 外孙子 | Daughter's son
    44 外孙女 | Daughter's daughter
    45 孙媳妇或外孙媳妇 | Grandson's wife
    46 孙女婿或外孙女婿 | Granddaughter's husband
    47 曾孙子或外曾孙子 | Great-grandson
    48 曾孙女或外曾孙女 | Great-granddaughter
    49 其他孙子、孙女或外孙子、外孙女 | Another grandchild
    50 父母 | Parent
    51 父亲 | Father
    52 母亲 | Mother
    53 公公 | Husband's father
    54 婆婆 | Husband's mother
    55 岳父 | Wife's father
    56 岳母 | Wife's mother
    57 继父或养父 | Stepfather or adoptive father
    58 继母或养母 | Stepmother or adoptive mother
    59 其他父母关系 | Another parental relation
    60 祖父母或外祖父母 | Grandparent
    61 祖父 | Father's father
    62 祖母 | Father's mother
    63 外祖父 | Mother's father
    64 外祖母 | Mother's mother
    65 配偶的祖父母或外祖父母 | Spouse's grandparent
    66 曾祖父 | Great-grandfather
    67 曾祖母 | Great-grandmother
    68 配偶的曾祖父母或外曾祖父母 | Spouse's great-grandparent
    69 其他祖父母或外祖父母关系 | Another relation of grandparents
    70 兄弟姐妹 | Sibling
    71 兄 | Elder brother
    72 嫂 | Elder brother's wife
    73 弟 | Younger brother
    74 弟媳 | Younger brother's wife
    75 姐姐 | Elder sister
    76 姐夫 | Elder sister's husband
    77 妹妹 | Younger sister
    78 妹夫 | Younger sister's husband
    79 其他兄弟姐妹 | Another sibling
    80 其他 | Other
    81 伯父 | Father's elder brother
    82 伯母 | Wife of the father's elder brother
    83 叔父 | Father's younger brother
    84 婶母 | Wife of the father's younger brother
    85 舅父 | Mother's brother
    86 舅母 | Wife of the mother's brother
    87 姨父 | Husband of the mother's sister
    88 姨母 | Mother's sister
    89 姑父 | Husband of the father's sister
    90 姑母 | Father's sister
    91 堂兄弟、堂姐妹 | Cousin on the father's side
    92 表兄弟、表姐妹 | Cousin on the mother's side
    93 侄子 | Brother's son
    94 侄女 | Brother's daughter
    95 外甥 | Sister's son
    96 外甥女 | Sister's daughter
    97 其他亲属 | Another relative
    99 非亲属 | Not a relative
    """,
)

#: The classes are the standard's, the digits those at the end of a disability certificate's number.
DISABILITY = table(
    "GB/T 26341",
    "残疾类别",
    "Disability",
    """
    1 视力残疾 | Visual
    2 听力残疾 | Hearing
    3 言语残疾 | Speech
    4 肢体残疾 | Physical
    5 智力残疾 | Intellectual
    6 精神残疾 | Mental
    7 多重残疾 | Multiple
    """,
)

DISABILITY_GRADE = table(
    "GB/T 26341",
    "残疾等级",
    "Grade of disability",
    """
    1 一级 | First, the most severe
    2 二级 | Second
    3 三级 | Third
    4 四级 | Fourth
    """,
)
