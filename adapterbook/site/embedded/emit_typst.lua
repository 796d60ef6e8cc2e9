-- Write qmd.lua's elements as Typst. The functions called here (fitted, note-box, …) are in
-- ../typst/typst-template.typ; Typst numbers figures, tables, equations and headings.

local M = {}

local function raw(text) return pandoc.RawBlock('typst', text) end
local function inline(text) return pandoc.RawInline('typst', text) end

-- pandoc 3.9 writes two families of symbols with names that Typst 0.15 no longer has.
local function math_source(math)
  local source = pandoc.write(pandoc.Pandoc{pandoc.Plain{math}}, 'typst'):gsub('%s+$', '')
  return (source:gsub('%f[%w]([%w.]+)%.circle%f[%W]', '%1.o'):gsub('%f[%w]sect%f[%W]', 'inter'))
end

local function quoted(text)
  local line = text:gsub('%s+', ' '):gsub('%c', ''):match('^ ?(.-) ?$')
  return '"' .. line:gsub('[\\"]', '\\%0') .. '"'
end

-- A screen reader reads a formula's source aloud.
function M.math(math) return inline(('#formula(%s, %s);'):format(quoted(math.text), math_source(math))) end

-- Words that Typst would take for markup or rewrite: "=" and "1." begin blocks in a cell, "..." becomes one character,
-- "-5" gets a minus sign. pandoc has replaced the author's dashes and dots by now, so what is left is meant literally.
local MARKS = {'^=+$', '^[-+/]$', '^/.*:$', '^%d+%.$', '%.%.%.', '%-%-', '%-%?', '%-%d'}

function M.word(word)
  for _, mark in ipairs(MARKS) do
    if word.text:find(mark) then return inline((word.text:gsub('%p', '\\%0'))) end
  end
end

local function typst_inlines(inlines)
  local mended = pandoc.Inlines(inlines):walk{Math=M.math, Str=M.word}
  return (pandoc.write(pandoc.Pandoc{pandoc.Plain(mended)}, 'typst'):gsub('%s+$', ''))
end

function M.caption(_, _, inlines) return inlines end

function M.display() return nil end  -- pandoc's default is right

function M.equation(math, id)
  local body = math_source(math)
  return raw(('#math.equation(block: true, alt: %s, numbering: "(1)", %s) <%s>'):format(
    quoted(math.text), body:gsub('^%$%s*', '$'):gsub('%s*%$$', '$'), id))
end

function M.image(image) return image end

-- #fitted(image(…)), with the picture's width attribute if it has one.
local function image_call(image)
  local width = image.attributes.width
  width = width and width:match('^[%d.]+%%$') and ', width: ' .. width or ''
  local source = image.src:gsub('%%(%x%x)', function(code) return string.char(tonumber(code, 16)) end)
  local alt = pandoc.utils.stringify(image.caption)
  return ('fitted(image(%s, alt: %s%s))'):format(quoted(source), quoted(alt), width)
end

-- #figure(…, caption: [caption]) <id>, in one paragraph, so that the caption holds no blank line.
local function figure_call(kind, body, id, caption, is_numbered)
  local out = pandoc.Inlines{inline(('#figure(kind: %s, %s%s'):format(kind, is_numbered and '' or 'numbering: none, ', body))}
  if #caption > 0 then
    out:insert(inline(', caption: ['))
    out:extend(caption)
    out:insert(inline(']'))
  end
  out:insert(inline(')' .. (id ~= '' and (' <%s>'):format(id) or '')))
  return out
end

function M.figure(block, image, id, caption, is_numbered)
  if not image then
    local out = pandoc.Blocks{raw('#figure(kind: image, numbering: none)[')}
    out:extend(block.content)
    out:insert(raw(']'))
    return out
  end
  block:walk{Image = function(prepared) image = prepared end}
  return pandoc.Para(figure_call('image', image_call(image), id, caption, is_numbered))
end

function M.figure_group(parts, id, caption, n_columns)
  local out = pandoc.Inlines{inline(('#figure(kind: image, grid(columns: (1fr,) * %d, gutter: 10pt, align: top,'):format(n_columns))}
  for _, part in ipairs(parts) do
    local image = part.image
    part.block:walk{Image = function(prepared) image = prepared end}
    out:insert(inline(' ['))
    out:extend(figure_call('"panel"', image_call(image), part.id, part.caption, false))
    out:insert(inline('],'))
  end
  out:insert(inline('), caption: ['))
  out:extend(caption)
  out:insert(inline(('] ) <%s>'):format(id)))
  return pandoc.Para(out)
end

-- pandoc makes every table a figure; only those with a number may count.
function M.table(block, is_numbered)
  if is_numbered then return block end
  return pandoc.Blocks{raw('#[#set figure(numbering: none)'), block, raw(']')}
end

function M.code(block, filename, id, caption)
  local out = pandoc.Blocks{}
  if filename then out:insert(raw('#code-filename(' .. quoted(filename) .. ')')) end
  out:insert(block)
  if not id then return out end
  out:insert(1, raw('#figure(kind: raw, caption: [' .. typst_inlines(caption) .. '], align(left)['))
  out:insert(raw(('])<%s>'):format(id)))
  return out
end

function M.tabset(tabs)
  local out = pandoc.Blocks{raw('#tabs(')}
  for _, tab in ipairs(tabs) do
    out:insert(raw('([' .. typst_inlines(tab.title) .. '], ['))
    out:insert(pandoc.Div(tab.body))
    out:insert(raw(']),'))
  end
  out:insert(raw(')'))
  return out
end

function M.callout(callout)
  local out = pandoc.Blocks{raw(('#note-box("%s", [%s])['):format(callout.kind, typst_inlines(callout.title)))}
  out:insert(pandoc.Div(callout.body))
  out:insert(raw(']' .. (callout.id ~= '' and (' <%s>'):format(callout.id) or '')))
  return out
end

function M.definitions(list)
  local out = pandoc.Blocks{}
  for _, entry in ipairs(list.content) do
    out:insert(raw('#definition[' .. typst_inlines(entry[1]) .. ']['))
    for _, meaning in ipairs(entry[2]) do out:extend(meaning) end
    out:insert(raw(']'))
  end
  return out
end

function M.heading(heading) return heading end

function M.reference(id, entry, text, is_bare)
  if entry.parent then return inline(('#panel-ref(<%s>, <%s>, "%s")'):format(id, entry.parent, entry.letter)) end
  if not entry.number or is_bare then return inline(('#link(<%s>)[%s]'):format(id, typst_inlines(text))) end
  return inline(('#ref(<%s>)'):format(id))
end

-- A relative path leads nowhere from a PDF: only addresses and anchors stay links.
function M.link(link)
  if link.target:match('^#.') or link.target:match('^%a[%w+.-]*:') then return link end
  return link.content
end

return M
