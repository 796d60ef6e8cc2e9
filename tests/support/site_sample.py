"""Write a small bilingual website project with every construct that the pages use, to test the renderers."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from adapterbook.site import build_site

QUARTO_YML = """\
project:
  type: website
  output-dir: _site
  render: [index.qmd, "/report/zh/**/*.qmd", "report/en/**/*.qmd"]
  resources: ["/report/zh/**/*.json", "report/en/**/*.json"]
metadata-files: [report/_navigation.yml]
format:
  html: {html-math-method: mathml, toc: true, theme: {light: cosmo, dark: darkly}}
"""

NAVIGATION = """\
website:
  title: "AdapterBook"
  navbar:
    left:
      - {text: "繁體中文", href: report/zh/index.qmd}
      - {text: "English", href: report/en/index.qmd}
      - {text: "PDF（中文）", href: report-zh.pdf}
      - {text: "PDF (English)", href: report-en.pdf}
  sidebar:
    - id: zh
      title: "報告"
      contents:
        - report/zh/index.qmd
        - section: "轉接器"
          contents: [report/zh/adapters/lora_1.qmd, report/zh/adapters/ia3.qmd]
    - id: en
      title: "Report"
      contents:
        - report/en/index.qmd
        - section: "Adapters"
          contents: [report/en/adapters/lora_1.qmd, report/en/adapters/ia3.qmd]
  page-footer: "AdapterBook · [PDF](/report-zh.pdf)"
"""

COVER = """\
---
title: "AdapterBook"
subtitle: "四種轉接器，兩種語言 / Four adapters, two languages"
lang: zh-TW
toc: false
---

::: {lang="zh-TW"}
[讀中文報告](report/zh/index.qmd)。
:::

::: {lang="en"}
[Read the report in English](report/en/index.qmd).
:::
"""

ZH_INDEX = """\
---
title: "總覽"
subtitle: "LoRA 與 IA³ 學得一樣快嗎？"
date: "2026-11-24"
lang: zh-TW
description: "三種 LoRA 設定與 IA³ 的比較。"
number-sections: true
translation: ../en/index.qmd
format:
  html:
    include-in-header:
      - text: '<link rel="alternate" hreflang="en" href="../en/index.html">'
---

::: {.language-switch}
[English](../en/index.qmd)
:::

## 問題 {#sec-question}

低秩分解把權重的更新寫成兩個小矩陣的乘積，見 @eq-lora。*凍結*的基礎模型不變，**「只有轉接器」**會學。[^1]

$$ W = W_0 + \\frac{\\alpha}{r} \\left( B A \\right) $$ {#eq-lora}

[^1]: 分類頭也會學，與轉接器分開計算。

結果見 @fig-curves 與 @tbl-runs，其中 @fig-loss 是損失；作法見 @sec-method，程式見 @lst-config。

::: {#fig-curves layout-ncol=2}

![損失](../figures/zh/loss.svg){#fig-loss fig-alt="損失隨訓練輪數下降"}

![準確率](../figures/zh/accuracy.svg){#fig-accuracy fig-alt="準確率隨訓練輪數上升"}

兩種轉接器的學習曲線。
:::

| 轉接器 | 學習率 | 訓練輪數 | 批次大小 | 訓練損失 | 驗證損失 | 準確率 | F1 | 參數量 | 訓練秒數 |
|:-----|-----:|-----:|-----:|-----:|-----:|-----:|-----:|-----:|-----:|
| lora_1 | 1e-3 | 10 | 16 | 0.0213 | 1.6620 | 0.6875 | 0.6912 | 1,181,954 | 27.4 |
| ia3 | 1e-3 | 10 | 16 | 0.5121 | 0.6213 | 0.7012 | 0.7103 | 633,602 | 31.9 |

: 兩次訓練的結果。 {#tbl-runs}

::: {.callout-note}
## 讀表的方法
數字愈小愈好的欄位是**損失**。
:::

::: {.callout-warning collapse="true" title="不能與已發表的數字相比"}
資料集不同。
:::

::: {.callout-tip}
沒有標題的提示。
:::

## 作法 {#sec-method}

::: {.panel-tabset}

### 學習率

學習率是每一步走多遠。

### 批次大小

批次大小是一步看幾筆資料，見 @fig-batch。

![批次](../figures/zh/loss.svg){#fig-batch fig-alt="批次與損失"}

:::

```{.python filename="lora.py" #lst-config lst-cap="一種設定"}
from peft import LoraConfig, get_peft_model

config = LoraConfig(r=64, lora_alpha=16, target_modules=["q_lin", "v_lin"], lora_dropout=0.1, bias="none")  # 註解
model = get_peft_model(base, config)
```

過擬合
:   訓練損失下降而驗證損失上升。

:::: {.content-visible when-format="html"}
只在網頁上。

::: {.callout-note collapse="true" appearance="simple" title="數字"}
收起來的數字。
:::
::::

::: {.content-visible when-format="typst"}
只在紙上。
:::

```{=html}
<p id="raw-html">原始 HTML</p>
```

```{=typst}
#text(size: 9pt)[原始 Typst]
```

下一頁：[lora_1](adapters/lora_1.qmd#sec-settings)。紀錄：[record.json](record.json)。回到[問題](#sec-question)。
"""

ZH_ADAPTER = """\
---
title: "轉接器 {name}"
lang: zh-TW
number-sections: true
translation: ../../en/adapters/{name}.qmd
---

## 設定 {{#sec-settings}}

![驗證損失](../../figures/zh/loss.svg){{#fig-validation fig-alt="驗證損失"}}

如 @fig-validation 所示，回到[總覽](../index.qmd#sec-question)。
"""

EN_INDEX = """\
---
title: "Overview"
subtitle: "Do LoRA and IA³ learn equally fast?"
date: "2026-11-24"
lang: en
description: "Three LoRA configurations and IA³, compared."
number-sections: true
translation: ../zh/index.qmd
format:
  html:
    include-in-header:
      - text: '<link rel="alternate" hreflang="zh-TW" href="../zh/index.html">'
---

::: {.language-switch}
[繁體中文](../zh/index.qmd)
:::

## The question {#sec-question}

A low-rank update is the product of two small matrices, see @eq-lora. The base model is *frozen*.[^1]

$$ W = W_0 + \\frac{\\alpha}{r} \\left( B A \\right) $$ {#eq-lora}

[^1]: The head learns too; it is counted apart.

The results are in @fig-curves and @tbl-runs; @fig-loss shows the loss, @sec-method tells how, @lst-config the code.

::: {#fig-curves layout-ncol=2}

![Loss](../figures/en/loss.svg){#fig-loss fig-alt="The loss falls with the epochs"}

![Accuracy](../figures/en/accuracy.svg){#fig-accuracy fig-alt="The accuracy rises with the epochs"}

Learning curves of two adapters.
:::

| | learning rate | accuracy |
|:-----|-----:|-----:|
| lora_1 | 1e-3 | 0.6875 |

: Results of one run. {#tbl-runs}

::: {.callout-important}
## How to read the table
Smaller is better for a **loss**.
:::

## Method {#sec-method}

::: {.panel-tabset}

### Learning rate

How far one step goes.

### Batch size

How many rows one step sees.

:::

```{.python filename="lora.py" #lst-config lst-cap="One configuration"}
config = LoraConfig(r=64, lora_alpha=16)  # a comment
```

### Hostile sentences {#sec-hostile}

Typed: &lt;script&gt;alert(1)&lt;/script&gt; \\`code\\` \\::: \\$x\\$ \\@fig-x &#123;&#123;&lt; include x &gt;}}
\\[x\\](javascript:alert(1))

Unescaped link: [never](javascript:alert(1)).

$$ x \\odot y \\otimes z \\cap \\text{and a formula that is too long for a narrow window} $$

Next: [lora_1](adapters/lora_1.qmd#sec-settings). The record: [record.json](record.json).
"""

EN_ADAPTER = """\
---
title: "Adapter {name} <script>alert(1)</script> *as typed*"
lang: en
number-sections: true
translation: ../../zh/adapters/{name}.qmd
---

## Settings {{#sec-settings}}

![Validation loss](../../figures/en/loss.svg){{#fig-validation fig-alt="Validation loss"}}

As @fig-validation shows; back to the [overview](../index.qmd#sec-question).
"""

DOCUMENT_HEAD = """\
---
title: "{title}"
subtitle: "{subtitle}"
author: "AdapterBook"
date: "2026-11-24"
lang: {lang}
toc: true
number-sections: true
format:
  typst:
    papersize: a4
---

"""

SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="320pt" height="220pt" viewBox="0 0 320 220">
<path d="M40 10V180H310" fill="none" stroke="#222"/>
<path d="{curve}" fill="none" stroke="#1f77b4" stroke-width="2.5"/>
<g fill="#222"><rect x="170" y="196" width="30" height="8"/><rect x="12" y="60" width="8" height="40"/></g>
</svg>
"""
FALLING = "M45 25C110 140 200 165 305 168"
RISING = "M45 168C110 60 200 35 305 30"


def write_sample(root: Path) -> Path:
    """Write the project into ``root`` and return it."""
    files = {
        "_quarto.yml": QUARTO_YML,
        "report/_navigation.yml": NAVIGATION,
        "index.qmd": COVER,
        "report/zh/_metadata.yml": "lang: zh-TW\nsidebar: zh\n",
        "report/en/_metadata.yml": "lang: en\nsidebar: en\n",
        "report/zh/index.qmd": ZH_INDEX,
        "report/en/index.qmd": EN_INDEX,
    }
    for language, adapter in (("zh", ZH_ADAPTER), ("en", EN_ADAPTER)):
        for name in ("lora_1", "ia3"):
            files[f"report/{language}/adapters/{name}.qmd"] = adapter.format(name=name)
        files[f"report/{language}/record.json"] = '{"status": "completed"}\n'
        files[f"report/figures/{language}/loss.svg"] = SVG.format(curve=FALLING)
        files[f"report/figures/{language}/accuracy.svg"] = SVG.format(curve=RISING)
    files["report/pdf/report-zh.qmd"] = combined_document(ZH_INDEX, "zh-TW", "轉接器的比較", "LoRA 與 IA³", "總覽")
    files["report/pdf/report-en.qmd"] = combined_document(
        EN_INDEX, "en", "Adapters compared", "LoRA and IA³", "Overview"
    )
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


def combined_document(page: str, lang: str, title: str, subtitle: str, chapter: str) -> str:
    """Return a page as the one chapter of a combined document, as the page generator would write it."""
    body = page.split("---\n", 2)[2]
    for link in ("](adapters/lora_1.qmd#sec-settings)", "](record.json)", "](../en/index.qmd)", "](../zh/index.qmd)"):
        body = body.replace(link, "](#sec-question)")
    return DOCUMENT_HEAD.format(title=title, subtitle=subtitle, lang=lang) + f"# {chapter}\n{body}"


@cache
def built_sample() -> Path:
    """Return the sample project with its site and PDFs, built once by the embedded renderer for all tests."""
    root = Path(tempfile.mkdtemp(prefix="adapterbook-sample-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    build_site(write_sample(root), "embedded", say=lambda line: None)
    return root
