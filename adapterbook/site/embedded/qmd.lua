-- Quarto's Markdown → plain pandoc elements: numbers and cross-references, callouts, tabsets, conditional content.
--
-- This filter recognises the elements and numbers them; emit_html.lua and emit_typst.lua write them.
-- Order of the passes: metadata → math → removal of what the format hides → blocks, top-down (so that a figure is
-- numbered before those inside it) → headings → references → citations → links and words (everything has its number by then). In a
-- top-down pass pandoc visits the children of what a function returns, but not the returned blocks themselves: contents
-- are returned inside a Div.

local stringify, blocks_to_inlines = pandoc.utils.stringify, pandoc.utils.blocks_to_inlines
local target = FORMAT:match('typst') and 'typst' or 'html'
local emit = dofile(pandoc.path.join{pandoc.path.directory(PANDOC_SCRIPT_FILE), 'emit_' .. target .. '.lua'})

-- Quarto's words, so that both renderers write the same page.
local WORDS = {
  en = {fig='Figure', tbl='Table', eq='Equation', sec='Section', lst='Listing', colon=': ', code='Code',
        note='Note', tip='Tip', warning='Warning', important='Important', caution='Caution', table='Table'},
  zh = {fig='圖', tbl='表', eq='方程式', sec='節', lst='列表', colon='：', code='程式碼',
        note='註釋', tip='提示', warning='警告', important='重要', caution='注意', table='表格'},
}
local NBSP = '\u{a0}'

local words, number_sections, has_works = WORDS.en, false, false
local counts = {fig=0, tbl=0, eq=0, lst=0}
local numbered = {}      -- id → {kind=, number=, title=, parent=, letter=}

-- Returns 'fig', 'tbl', 'eq', 'lst' or 'sec' of an id such as fig-loss, else nil.
local function kind_of(id)
  local kind = id and id:match('^(%a+)%-')
  return kind and (counts[kind] or kind == 'sec') and kind or nil
end

local function next_number(kind, id)
  counts[kind] = counts[kind] + 1
  numbered[id] = {kind=kind, number=tostring(counts[kind])}
  return numbered[id].number
end

local function label_of(entry) return words[entry.kind] .. NBSP .. entry.number end

-- Reads Markdown without raw HTML: a title from a record shows as it was typed.
local function safe_inlines(text)
  return blocks_to_inlines(pandoc.read(text, 'markdown-raw_html-raw_attribute-raw_tex-native_divs-native_spans').blocks)
end

local function read_metadata(meta)
  words = WORDS[stringify(meta.lang or 'en'):sub(1, 2)] or WORDS.en
  number_sections = meta['number-sections'] == true
  has_works = meta.references ~= nil
  for _, key in ipairs{'title', 'subtitle', 'description'} do
    local raw = meta['raw-' .. key]
    if raw then meta[key] = pandoc.MetaInlines(safe_inlines(stringify(raw))) end
  end
  return meta
end

-- pandoc turns \! into a negative space that Typst does not know.
local function mend_math(math)
  if target == 'typst' then math.text = math.text:gsub('\\!', ''); return math end
end

-- $$…$$ {#eq-x}, or without a label
local function equation(para)
  local first, last = para.content[1], para.content[#para.content]
  if not first or first.t ~= 'Math' or first.mathtype ~= 'DisplayMath' then return nil end
  -- false stops the descent: the returned element contains the formula's paragraph again.
  if #para.content == 1 then return emit.display(first), false end
  local id = stringify(last):match('^{#(eq%-[%w_%-]+)}$')
  if not id then return nil end
  return emit.equation(first, id, next_number('eq', id)), false
end

local function caption_inlines(caption)
  return caption.long and #caption.long > 0 and blocks_to_inlines(caption.long) or pandoc.Inlines{}
end

-- Returns a caption with its label; a format that numbers by itself leaves the label out.
local function numbered_caption(kind, id, inlines)
  local label = words[kind] .. NBSP .. next_number(kind, id)
  return emit.caption(label, words.colon, inlines), label
end

local function prepare_images(block)
  return block:walk{Image = function(image)
    local alt = image.attributes['fig-alt']
    image.attributes['fig-alt'] = nil
    if alt then image.caption = pandoc.Inlines{pandoc.Str(alt)} end
    return emit.image(image)
  end}
end

local function figure(block)
  local caption, id = caption_inlines(block.caption), block.identifier
  local image
  block:walk{Image = function(found)
    image = image or found
    if id == '' then id = found.identifier end
  end}
  local is_numbered = kind_of(id) == 'fig'
  if is_numbered then caption = numbered_caption('fig', id, caption) end
  return emit.figure(prepare_images(block), image, id, caption, is_numbered), false
end

-- ::: {#fig-x layout-ncol=2}: several figures under one number, lettered.
local function figure_group(div)
  local panels, rest = pandoc.List{}, pandoc.Blocks{}
  for _, block in ipairs(div.content) do
    local lone_image = (block.t == 'Para' or block.t == 'Plain') and #block.content == 1 and block.content[1].t == 'Image'
    if block.t == 'Figure' or lone_image then panels:insert(block) else rest:insert(block) end
  end
  local caption = #rest > 0 and blocks_to_inlines{rest[#rest]} or pandoc.Inlines{}
  local id = div.identifier
  local whole = numbered_caption('fig', id, caption)
  local parts = pandoc.List{}
  for i, panel in ipairs(panels) do
    local letter, part_id, part_caption = string.char(96 + i), '', pandoc.Inlines{}
    local image
    if panel.t == 'Figure' then part_id, part_caption = panel.identifier, caption_inlines(panel.caption) end
    panel:walk{Image = function(found)
      image = found
      if part_id == '' then part_id = found.identifier end
    end}
    if part_id ~= '' then
      numbered[part_id] = {kind='fig', number=numbered[id].number .. NBSP .. '(' .. letter .. ')', parent=id, letter=letter}
    end
    if #panels > 1 and #part_caption > 0 then
      part_caption:insert(1, pandoc.Str('(' .. letter .. ')' .. NBSP))
    end
    parts:insert{block=prepare_images(panel), image=image, id=part_id, caption=part_caption}
  end
  return emit.figure_group(parts, id, whole, tonumber(div.attributes['layout-ncol']) or 1), false
end

local function table_block(block, id, caption)
  id = id or block.identifier
  caption = caption or caption_inlines(block.caption)
  local is_numbered, name = kind_of(id) == 'tbl', stringify(caption)
  if is_numbered then
    local label
    caption, label = numbered_caption('tbl', id, caption)
    name = label .. (name ~= '' and words.colon .. name or '')
  end
  block.identifier = id
  -- Where a source line is long, pandoc takes widths from the dashes below the head: let the contents decide.
  block.colspecs = block.colspecs:map(function(column) return {column[1]} end)
  block.caption = {long = #caption > 0 and pandoc.Blocks{pandoc.Plain(caption)} or pandoc.Blocks{}}
  return emit.table(block, is_numbered, name ~= '' and name or words.table), false
end

-- ::: {#tbl-x}: a table and its caption as the last paragraph.
local function table_div(div)
  local block, caption
  for _, child in ipairs(div.content) do
    if child.t == 'Table' then block = child end
    if child.t == 'Para' or child.t == 'Plain' then caption = child.content end
  end
  if block then return table_block(block, div.identifier, caption) end
end

local function code_block(block)
  local filename, id = block.attributes.filename, block.identifier
  local caption
  if kind_of(id) == 'lst' then
    caption = numbered_caption('lst', id, safe_inlines(block.attributes['lst-cap'] or ''))
    block.identifier = ''
  end
  block.attributes = {}
  return emit.code(block, filename, caption and id, caption, words.code), false
end

local function is_here(name)
  return name == target or name == 'html:js' and target == 'html' or name == 'pdf' and target == 'typst'
end

local function conditional(element)
  local visible = element.classes:includes('content-visible')
  if not visible and not element.classes:includes('content-hidden') then return nil end
  local when, unless = element.attributes['when-format'], element.attributes['unless-format']
  local matches = (not when or is_here(when)) and not (unless and is_here(unless))
  return matches == visible and element.content or {}
end

local function tabset(div)
  local level, tabs, before = nil, pandoc.List{}, pandoc.Blocks{}
  for _, block in ipairs(div.content) do
    if block.t == 'Header' and (not level or block.level == level) then
      level = block.level
      tabs:insert{title=block.content, id=block.identifier, body=pandoc.Blocks{}}
    elseif #tabs > 0 then tabs[#tabs].body:insert(block)
    else before:insert(block) end
  end
  if #tabs == 0 then pandoc.log.warn('a panel-tabset without headings: each tab begins with one'); return nil end
  local out = #before > 0 and pandoc.Blocks{pandoc.Div(before)} or pandoc.Blocks{}
  out:extend(emit.tabset(tabs))
  return out
end

local function callout(div, kind)
  local body, title = div.content, nil
  if div.attributes.title then title = safe_inlines(div.attributes.title) end
  if body[1] and body[1].t == 'Header' then title = body[1].content; body:remove(1) end
  return emit.callout{kind=kind, title=title or pandoc.Inlines{pandoc.Str(words[kind])}, body=body, id=div.identifier,
                      collapse=div.attributes.collapse, appearance=div.attributes.appearance}
end

local function div(element)
  if element.classes:includes('language-switch') then return {}, false end
  if element.classes:includes('panel-tabset') then return tabset(element) end
  for _, class in ipairs(element.classes) do
    local kind = class:match('^callout%-(%a+)$')
    if kind and WORDS.en[kind] then return callout(element, kind) end
  end
  if kind_of(element.identifier) == 'fig' then return figure_group(element) end
  if kind_of(element.identifier) == 'tbl' then return table_div(element) end
end

-- Numbers headings from the page's highest level on.
local function number_headings(document)
  local top = 6
  document:walk{Header = function(heading) top = math.min(top, heading.level) end}
  local section = {}
  return document:walk{Header = function(heading)
    local entry = {kind='sec', title=heading.content:clone()}
    if number_sections and not heading.classes:includes('unnumbered') then
      local depth = heading.level - top + 1
      for level = 1, depth do section[level] = section[level] or 0 end
      section[depth] = section[depth] + 1
      for level = depth + 1, 6 do section[level] = nil end
      entry.number = table.concat(section, '.')
    end
    numbered[heading.identifier] = entry
    return emit.heading(heading, entry.number, top)
  end}
end

local function cite(element)
  local out = pandoc.Inlines{}
  for i, citation in ipairs(element.citations) do
    local entry = numbered[citation.id]
    if not entry then
      if not kind_of(citation.id) then
        if has_works then return nil end  -- citeproc's
        return element.content            -- there is no bibliography: this is text with an @
      end
      pandoc.log.warn('unresolved reference @' .. citation.id)
      return nil
    end
    if i > 1 then out:extend{pandoc.Str(','), pandoc.Space()} end
    local bare = citation.mode == 'SuppressAuthor'
    local text = entry.number and pandoc.Inlines{pandoc.Str(bare and entry.number or label_of(entry))} or entry.title
    if #citation.prefix > 0 and entry.number then
      text = citation.prefix:clone()
      text:extend{pandoc.Str(NBSP .. entry.number)}
    end
    out:insert(emit.reference(citation.id, entry, text, bare or #citation.prefix > 0))
  end
  return out
end

-- The citations and the list of works. Both formats get the text that citeproc makes: pandoc's Typst has a way of its own.
local function cite_works(document)
  if not has_works then return nil end
  return pandoc.utils.citeproc(document):walk{Cite = function(element) return element.content end}
end

-- The blocks of a PDF's cover and abstract go where its template wants them.
local function take_front(document)
  local kept = pandoc.Blocks{}
  for _, block in ipairs(document.blocks) do
    local name = block.t == 'Div' and (block.classes:includes('front-page') and 'front-page'
                                       or block.classes:includes('abstract') and 'abstract')
    if name then document.meta[name] = pandoc.MetaBlocks(block.content) else kept:insert(block) end
  end
  document.blocks = kept
  return document
end

-- Removes links whose target is a script.
local function link(element)
  local scheme = element.target:gsub('[%s%c]', ''):lower():match('^([%a][%w+.-]*):')
  if scheme and (scheme == 'javascript' or scheme == 'vbscript' or scheme == 'data') then return element.content end
  return emit.link(element)
end

return {
  {Meta=read_metadata},
  {Math=mend_math},
  {Div=conditional, Span=conditional},
  {traverse='topdown', Div=div, Figure=figure, Table=table_block, Para=equation, CodeBlock=code_block},
  {Pandoc=number_headings},
  {Cite=cite},
  {Pandoc=cite_works},
  {Link=link, Math=emit.math, Str=emit.word, DefinitionList=emit.definitions},
  {Pandoc=take_front},
}
