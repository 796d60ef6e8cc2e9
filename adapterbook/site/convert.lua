-- Convert many documents in one process: pandoc starts and loads its syntax tables once, and reads a text that several
-- formats need once. Run as `pandoc lua convert.lua`.
--
-- Input: a JSON list of {text, from, outputs}; outputs is a list of {to, filter, template, template_path, toc_depth,
-- metadata, variables, bibliography, citation_style}. Output: a list of {text, messages}, one for each output of each
-- document, in order; messages are the warnings of pandoc and the filter, one a line. It opens only the filter's files,
-- the style of citations and what the template includes: an empty list of files keeps the readers in a sandbox.

local function write(document, output)
  for key, value in pairs(output.metadata or {}) do document.meta[key] = value end
  -- The filter has citeproc make the citations. The works are given as text, so that no document names a file to read.
  document.meta.bibliography, document.meta.csl = nil, output.citation_style
  document.meta.references = output.bibliography and pandoc.read(output.bibliography, 'bibtex').meta.references or nil
  if output.filter then
    FORMAT, PANDOC_SCRIPT_FILE = output.to, output.filter  -- pandoc sets these when it runs a filter itself
    -- Load it for each output, since it counts figures and tables.
    for _, pass in ipairs(dofile(output.filter)) do document = document:walk(pass) end
  end
  local options = {html_math_method='mathml', wrap_text='none', variables=output.variables}
  if output.to == 'typst' then options.highlight_method = 'idiomatic' end  -- Typst colours code itself
  if output.template then options.template = pandoc.template.compile(output.template, output.template_path) end
  if output.toc_depth then options.table_of_contents, options.toc_depth = true, output.toc_depth end
  return pandoc.write(document, output.to, options)
end

-- Calls a function; returns its result or nil, and a list of warnings and errors.
local function try(f, ...)
  local messages, done, result = pandoc.log.silence(pcall, f, ...)
  local lines = {}
  for _, message in ipairs(messages) do lines[#lines + 1] = message.message end
  if not done then lines[#lines + 1] = tostring(result) end
  return done and result or nil, lines
end

local answers = {}
for _, job in ipairs(pandoc.json.decode(io.read('a'), false)) do
  local document, read_lines = try(pandoc.read, job.text, job.from, nil, {})
  for _, output in ipairs(job.outputs) do
    local text, lines = nil, {}
    if document then text, lines = try(write, document:clone(), output) end
    answers[#answers + 1] = {
      text=text or '',
      messages=table.concat({table.concat(read_lines, "\n"), table.concat(lines, "\n")}, "\n"),
    }
  end
end
io.write(pandoc.json.encode(answers))
