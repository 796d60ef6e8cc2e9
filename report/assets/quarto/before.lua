-- What Quarto is not to make of our pages, told before it reads them. The embedded renderer makes the same by itself.

-- A callout that unfolds is a <details>, which keyboard and screen reader know. Quarto's own is a <div> that neither
-- can open.
local function unfolding(div)
  local kind
  for _, class in ipairs(div.classes) do kind = kind or class:match('^callout%-(%a+)$') end
  local collapse, title = div.attributes.collapse, div.attributes.title
  if not kind or not title or collapse ~= 'true' and collapse ~= 'false' then return nil end
  local summary = pandoc.read(title, 'markdown-raw_html-raw_attribute-raw_tex-native_divs-native_spans').blocks
  local text = pandoc.write(pandoc.Pandoc{pandoc.Plain(pandoc.utils.blocks_to_inlines(summary))}, 'html')
  local blocks = pandoc.Blocks{pandoc.RawBlock('html', ('<details class="unfolding unfolding-%s"%s><summary>%s</summary>'):format(
    kind, collapse == 'false' and ' open' or '', text))}
  blocks:extend(div.content)
  blocks:insert(pandoc.RawBlock('html', '</details>'))
  return blocks
end

local function scripts()
  quarto.doc.add_html_dependency{name='adapterbook', version='1.1.0', scripts={'menus.js', 'search.js'}}
end

return {{Div = unfolding}, {Pandoc = scripts}}
