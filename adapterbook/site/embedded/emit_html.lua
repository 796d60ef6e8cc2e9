-- Write qmd.lua's elements as HTML. site.css and site.js use the classes named here.

local M = {}
local n_tabsets = 0

local function raw(text) return pandoc.RawBlock('html', text) end
local function inline_html(inlines) return (pandoc.write(pandoc.Pandoc{pandoc.Plain(inlines)}, 'html'):gsub('\n', ' ')) end
local function plain(inlines) return {long = #inlines > 0 and pandoc.Blocks{pandoc.Plain(inlines)} or pandoc.Blocks{}} end

local function attribute(text)
  return (text:gsub('[&<>"]', {['&']='&amp;', ['<']='&lt;', ['>']='&gt;', ['"']='&quot;'}))
end

function M.caption(label, colon, inlines)
  local out = pandoc.Inlines{pandoc.Span({pandoc.Str(label .. (#inlines > 0 and colon or ''))}, {class='caption-label'})}
  out:extend(inlines)
  return out
end

function M.display(math)
  return pandoc.Div({pandoc.Div({pandoc.Para{math}}, {class='equation-body'})}, {class='equation'})
end

function M.equation(math, id, number)
  return pandoc.Div({
    pandoc.Div({pandoc.Para{math}}, {class='equation-body'}),
    pandoc.Div({pandoc.Plain('(' .. number .. ')')}, {class='equation-number'}),
  }, {id=id, class='equation'})
end

function M.math(math) return math end

-- A figure with a drawing for narrow screens is a <picture> of both. after.lua does the same for Quarto.
function M.image(image)
  image.attributes.loading = 'lazy'
  local phone = image.attributes.phone
  if not phone then return image end
  image.attributes.phone = nil
  return {
    pandoc.RawInline('html', ('<picture><source media="(max-width: 600px)" srcset="%s">'):format(attribute(phone))),
    image, pandoc.RawInline('html', '</picture>'),
  }
end

function M.figure(block, _, id, caption)
  if block.identifier == '' then
    block = block:walk{Image = function(image) image.identifier = ''; return image end}
  end
  block.identifier = id
  block.caption = plain(caption)
  return block
end

function M.figure_group(parts, id, caption, n_columns)
  local panels = pandoc.Blocks{}
  for _, part in ipairs(parts) do
    local body = part.block.t == 'Figure' and part.block.content or pandoc.Blocks{part.block}
    body = body:walk{Image = function(image) image.identifier = ''; return image end}
    panels:insert(pandoc.Figure(body, plain(part.caption), {id=part.id, class='panel'}))
  end
  local grid = pandoc.Div(panels, {class='panels panels-' .. n_columns})
  return pandoc.Figure({grid}, plain(caption), {id=id, class='figure-group'})
end

-- A wide table scrolls inside a frame that takes the keyboard's focus; its caption stays in place.
function M.table(block, _, name)
  local caption, id = block.caption, block.identifier
  block.caption, block.identifier = {long = pandoc.Blocks{}}, ''
  local class = #block.colspecs > 7 and {'table-frame', 'many-columns'} or {'table-frame'}
  local frame = pandoc.Div({block}, pandoc.Attr('', class, {{'tabindex', '0'}, {'role', 'group'}, {'aria-label', name}}))
  if #caption.long == 0 then return pandoc.Div({frame}, {id=id, class='table-figure'}) end
  return pandoc.Figure({frame}, caption, {id=id, class='table-figure'})
end

function M.code(block, filename, id, caption)
  local out = pandoc.Blocks{block}
  if filename then
    out = pandoc.Blocks{pandoc.Div({
      pandoc.Div({pandoc.Plain{pandoc.Code(filename)}}, {class='code-filename'}), block,
    }, {class='code-file'})}
  end
  if not id then return out end
  return pandoc.Figure(out, plain(caption), {id=id, class='listing'})
end

-- Roles and states follow the ARIA tabs pattern; site.js adds the keys. Without scripts all panels show, one below the
-- other, each under its title.
function M.tabset(tabs)
  n_tabsets = n_tabsets + 1
  local list, out = '', pandoc.Blocks{}
  for i, tab in ipairs(tabs) do
    tab.key = ('tabs-%d-%d'):format(n_tabsets, i)
    list = list .. ('<button type="button" role="tab" id="%s-tab" aria-controls="%s" aria-selected="%s"%s>%s</button>'):format(
      tab.key, tab.key, tostring(i == 1), i == 1 and '' or ' tabindex="-1"', inline_html(tab.title))
  end
  out:insert(raw('<div class="tab-list" role="tablist">' .. list .. '</div>'))
  for i, tab in ipairs(tabs) do
    local body = pandoc.Blocks{pandoc.Div({pandoc.Plain(tab.title)}, {class='tab-title', ['aria-hidden']='true'})}
    body:extend(tab.body)
    local class = i == 1 and {'tab-panel'} or {'tab-panel', 'not-chosen'}
    -- A list keeps its order, a table of names does not: the same page gives the same bytes.
    local attributes = {{'role', 'tabpanel'}, {'tabindex', '0'}, {'aria-labelledby', tab.key .. '-tab'}}
    out:insert(pandoc.Div(body, pandoc.Attr(tab.key, class, attributes)))
  end
  return pandoc.Blocks{pandoc.Div(out, {class='tabset'})}
end

function M.callout(callout)
  local class = 'callout callout-' .. callout.kind .. (callout.appearance and ' callout-' .. callout.appearance or '')
  local id = callout.id ~= '' and (' id="%s"'):format(attribute(callout.id)) or ''
  local title = inline_html(callout.title)
  local body = pandoc.Div(callout.body, {class='callout-body'})
  if callout.collapse == 'true' or callout.collapse == 'false' then
    local open = callout.collapse == 'false' and ' open' or ''
    return pandoc.Blocks{
      raw(('<details class="%s"%s%s><summary class="callout-title">%s</summary>'):format(class, id, open, title)),
      body, raw('</details>'),
    }
  end
  return pandoc.Div({raw('<p class="callout-title">' .. title .. '</p>'), body}, {id=callout.id, class=class, role='note'})
end

-- The page's title is the only h1: where a page has level-1 headings, all headings go down by one level.
function M.heading(heading, number, top)
  if number then
    heading.content:insert(1, pandoc.Span({pandoc.Str(number)}, {class='section-number'}))
    heading.content:insert(2, pandoc.Space())
  end
  if top == 1 then heading.level = math.min(heading.level + 1, 6) end
  return heading
end

function M.reference(id, _, text)
  return pandoc.Link(text, '#' .. id, '', {class='cross-reference'})
end

function M.link(link)
  if not link.target:match('^%a[%w+.-]*:') then
    link.target = link.target:gsub('%.qmd$', '.html'):gsub('%.qmd#', '.html#')
  end
  return link
end

return M
