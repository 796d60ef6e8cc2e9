-- How qmd.lua's elements look in Typst. The functions called here (fitted, callout, …) are in
-- ../typst/elements.typ; numbers of figures, tables, equations and headings are Typst's own.

local M = {}

local function raw(text) return pandoc.RawBlock('typst', text) end
local function inline(text) return pandoc.RawInline('typst', text) end
local function typst_inlines(inlines) return (pandoc.write(pandoc.Pandoc{pandoc.Plain(inlines)}, 'typst'):gsub('%s+$', '')) end
local function string(text) return '"' .. text:gsub('[\\"]', '\\%0'):gsub('%c', ' ') .. '"' end
local function label(id) return id ~= '' and ' #label(' .. string(id) .. ')' or '' end

function M.caption(_, _, inlines) return inlines end

function M.equation(math, id)
  local body = typst_inlines(pandoc.Inlines{math})
  return raw('#math.equation(block: true, numbering: "(1)", ' .. body:gsub('^%$%s*', '$'):gsub('%s*%$$', '$') .. ')' ..
             (' <%s>'):format(id))
end

function M.image(image) return image end

-- #fitted(image(…)), as wide as it says, or as it is where it fits.
local function image_call(image)
  local width = image.attributes.width
  width = width and width:match('^[%d.]+%%$') and ', width: ' .. width or ''
  local source = image.src:gsub('%%(%x%x)', function(code) return utf8.char(tonumber(code, 16)) end)
  local alt = pandoc.utils.stringify(image.caption)
  return ('fitted(image(%s, alt: %s%s))'):format(string(source), string(alt), width)
end

-- #figure(…, caption: [caption]) <id>: in one paragraph, so that no blank line gets into the caption.
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

function M.table(block, is_numbered)
  if is_numbered or #block.caption.long == 0 then return block end
  return pandoc.Blocks{raw('#[#set figure(numbering: none)'), block, raw(']')}
end

function M.code(block, filename, id, caption)
  local out = pandoc.Blocks{}
  if filename then out:insert(raw('#code-filename(' .. string(filename) .. ')')) end
  out:insert(block)
  if not id then return out end
  out:insert(1, raw('#figure(kind: raw, caption: [' .. typst_inlines(caption) .. '], align(left)['))
  out:insert(raw(('])<%s>'):format(id)))
  return out
end

function M.tabset(tabs)
  local out = pandoc.Blocks{}
  for _, tab in ipairs(tabs) do
    out:insert(raw('#tab-title[' .. typst_inlines(tab.title) .. ']'))
    out:extend(tab.body)
  end
  return out
end

function M.callout(callout)
  local out = pandoc.Blocks{raw(('#note-box("%s", [%s])['):format(callout.kind, typst_inlines(callout.title)))}
  out:extend(callout.body)
  out:insert(raw(']' .. (callout.id ~= '' and (' <%s>'):format(callout.id) or '')))
  return out
end

function M.heading(heading) return heading end

function M.reference(id, entry, text, is_bare)
  if entry.parent then return inline(('#panel-ref(<%s>, <%s>, "%s")'):format(id, entry.parent, entry.letter)) end
  if not entry.number or is_bare then return inline(('#link(<%s>)[%s]'):format(id, typst_inlines(text))) end
  return inline(('#ref(<%s>)'):format(id))
end

-- A path leads nowhere from a PDF: only addresses and places in the document stay links.
function M.link(link)
  if link.target:match('^#.') or link.target:match('^%a[%w+.-]*:') then return link end
  return link.content
end

return M
